#!/bin/bash
# Makes the peers' environments beside this file, in env/ (about 1 GB, not committed). Names as arguments, or all.
set -e
cd "$(dirname "$0")"
mkdir -p env
python=${PYTHON:-python3}
for peer in ${*:-litellm portkey vllm-router nemo}; do
  test -e "env/$peer/.installed" && continue
  case $peer in
    litellm) # the version that was measured; where an index lacks something it needs, the newest before it
      "$python" -m venv env/litellm
      env/litellm/bin/pip install -q 'litellm[proxy]==1.109.1' || env/litellm/bin/pip install -q 'litellm[proxy]<1.109.1' ;;
    vllm-router) "$python" -m venv env/vllm-router; env/vllm-router/bin/pip install -q 'vllm-router==0.1.17' ;;
    nemo) "$python" -m venv env/nemo; env/nemo/bin/pip install -q 'nemoguardrails[server]==0.24.1' ;;
    portkey)
      mkdir -p env/portkey
      echo '{"name":"portkey","version":"1.0.0","dependencies":{"@portkey-ai/gateway":"1.15.2"},"overrides":{"@hono/node-server":"1.13.5","hono":"4.9.7"}}' > env/portkey/package.json
      (cd env/portkey; npm install --no-audit --no-fund --silent) ;;
    *) echo "unknown peer: $peer" >&2; exit 2 ;;
  esac
  touch "env/$peer/.installed"
done
