#!/usr/bin/env bash
# Builds the lab's programs: its document asks for this file here.
exec "$(dirname "${BASH_SOURCE[0]}")/lab/build.sh" "$@"
