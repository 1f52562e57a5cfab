"""Completion in Bash of words with colons in them, which every PCI address has."""

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

__all__ = ["AddressBashComplete"]

_SOURCE = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##*[[:space:]]}" before=""
    # Bash ends a word at a colon, and replaces what follows the last one.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && before="${word%%:*}:"
    response=$(env COMP_WORDS="$line" COMP_CWORD="$word" %(complete_var)s=bash_complete "$1")
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class AddressBashComplete(BashComplete):
    """Takes the line as it was typed, where click's own takes it as Bash split it."""

    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the whole words before the cursor and the one that is being typed."""
        incomplete = os.environ["COMP_CWORD"]
        words = split_arg_string(os.environ["COMP_WORDS"])[1:]
        return words[:-1] if incomplete else words, incomplete
