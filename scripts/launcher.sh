# How holdfast and holdfastd start: as a shell script that runs Node on the rest of the same file, which is a comment to one and a program to the
# other (node-programs.ts puts them together). Node looks for options of its own in the whole command line, behind the program's name too
# (--env-file, --experimental-config-file), and in NODE_OPTIONS and its like; ours hold what is meant for containers, so it must see neither.

HELP_PAGES
# What Node, libuv, ICU, OpenSSL or a library in the program would read is given to the program under another name: src/platform/node-launch.ts.
while IFS= read -r line; do
  # bash has a word of its own.
  case $line in "declare -x "*) line="export ${line#declare -x }" ;; esac
  case $line in
    "export NODE_"* | "export UV_"* | "export OPENSSL_"* | "export ICU_DATA"* | "export WATCH_REPORT_DEPENDENCIES"*) ;;
    "export GRPC_"* | "export LMDB_"* | "export MSGPACKR_"* | "export BUF_BIGINT_DISABLE"* | "export DISABLE_TURBO_CALLS"*) ;;
    "export FORCE_COLOR"* | "export CLICOLOR_FORCE"*) ;;
    *) continue ;;
  esac
  line=${line#export }
  name=${line%%=*}
  # A line may also be part of a variable's text.
  case $name in *[!A-Za-z0-9_]*) continue ;; esac
  eval "[ -n \"\${$name+set}\" ] || continue; HOLDFAST_KEPT_$name=\$$name"
  export "HOLDFAST_KEPT_$name"
  unset "$name"
done <<END
$(export -p)
END

# An argument that begins with a colon is no option to anybody; the first one says that it was done.
count=1
words=
while [ "$count" -le $# ]; do
  words="$words \":\${$count}\""
  count=$((count + 1))
done
# SIGUSR1 opens Node's debugger to every user of this host until the program handles it: it cannot listen on that address.
eval "exec node --inspect-port=240.0.0.1:1024 NODE_FLAGS -- \"\$0\" : $words"
