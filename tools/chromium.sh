#!/usr/bin/env bash
# Chromium for the browser tests: from the distribution's packages, where apt has it and none is there.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

command -v chromium chromium-browser google-chrome >/dev/null && exit
command -v apt-get >/dev/null && as_root apt-get update -qq >/dev/null 2>&1 &&
  as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 ||
  echo "Chromium could not be installed: the browser tests will be skipped."
