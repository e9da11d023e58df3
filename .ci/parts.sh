# Sourced by the scripts beside it: runs the parts of a check one by one, prints how
# long each took, and goes on after a failure so that one run shows all of them.

failed=""
summary=""

# part NAME COMMAND...
part() {
	name=$1
	shift
	printf '\n== %s\n' "$name"
	begin=$(date +%s)
	if "$@"; then result=ok; else result=FAILED; failed="$failed $name;"; fi
	took=$(($(date +%s) - begin))
	printf -- '-- %s: %s in %ss\n' "$name" "$result" "$took"
	summary="$summary
  $(printf '%-28s %-7s %5ss' "$name" "$result" "$took")"
}

# missing NAME WHAT: a part that cannot run here. In CI that is a failure, since
# nobody would notice the line.
missing() {
	printf '\n== %s: skipped, %s\n' "$1" "$2"
	summary="$summary
  $(printf '%-28s skipped: %s' "$1" "$2")"
	if [ -n "${CI:-}" ]; then failed="$failed $1 ($2);"; fi
}

# finish prints the times and ends with the right status.
finish() {
	printf '\n%s:%s\n' "$1" "$summary"
	if [ -n "$failed" ]; then
		printf '%s FAILED:%s\n' "$1" "$failed"
		exit 1
	fi
	printf '%s: all parts ok\n' "$1"
}
