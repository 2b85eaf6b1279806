#!/bin/sh
# Firefox ends with the process that started it, even when that one is killed.
exec setpriv --pdeathsig TERM "$SIGNET_FIREFOX" "$@"
