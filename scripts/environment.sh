# Sourced by the other scripts: `environment [EXTRA ...]` makes .venv, or takes the active virtual
# environment, installs the project with its extras and sets NT_PYTHON.
# A torch that is already there is kept.

environment() {
    local python="${PYTHON:-python3}" venv="${VIRTUAL_ENV:-$PWD/.venv}" extras stamp torch
    extras="$(IFS=,; echo "$*")"
    if [ ! -x "$venv/bin/python" ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "nt_lightning needs Python 3.11 or newer; $python is $("$python" -V)" >&2
            exit 2
        }
        "$python" -m venv "$venv"
    fi
    NT_PYTHON="$venv/bin/python"
    stamp="$venv/.nt_lightning-${extras:-core}"
    if [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] && [ ! constraints.txt -nt "$stamp" ]; then
        return
    fi
    echo "installing into $venv" >&2
    # Asked for alone and pinned, torch comes as the build that this machine's index offers first.
    "$NT_PYTHON" -c 'import torch' 2>/dev/null ||
        "$NT_PYTHON" -m pip install --quiet "$(grep '^torch==' constraints.txt)"
    torch="$("$NT_PYTHON" -c 'from importlib.metadata import version; print(version("torch").split("+")[0])')"
    sed "s/^torch==.*/torch==$torch/" constraints.txt >"$venv/constraints.txt"
    "$NT_PYTHON" -m pip install --quiet --constraint "$venv/constraints.txt" \
        --editable ".${extras:+[$extras]}"
    touch "$stamp"
}
