# Help is text, made with the program: nobody waits for Node to read a page of it. All other command lines are the program's.
page=
case $#:$1:$2 in
  1:--help: | 1:-h: | 1:help:) page=HOLDFAST ;;
  2:*[!a-z]*:--help | 2:*[!a-z]*:-h | 2:help:*[!a-z]*) ;;
  2:help:?*) page=$2 ;;
  2:?*:--help | 2:?*:-h) page=$1 ;;
esac
if [ -n "$page" ]; then
  page=$(dirname -- "$(readlink -f -- "$0")")/help/$page
  if [ -f "$page" ]; then
    cat -- "$page" 2>/dev/null
    # Whoever has gone wants no more of it; why it cannot be written, the program says in its own words.
    case $? in 0) exit 0 ;; 141) exit 141 ;; esac
  fi
fi

