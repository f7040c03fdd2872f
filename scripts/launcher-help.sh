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
  if [ -f "$page" ]; then exec cat -- "$page"; fi
fi

