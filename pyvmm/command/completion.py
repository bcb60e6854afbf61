"""Completion of pyvmm's commands, options and values in bash, zsh and fish, of the table of options."""

from __future__ import annotations

from pyvmm.command.options import COMMANDS, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.command.options import Option

_OTHERS = (("--version", "print the version"), ("--help", "list the commands"))
_HELP: Option = ("--help", "flag", "", "", "list the command's options")


def _options(command: str) -> tuple[Option, ...]:
    return (*COMMANDS[command][4], _HELP)


def _short(option: Option) -> str:
    """What an option is for, as long as there is room."""
    return option[4].partition(";")[0].replace("`", "")


# ---- bash ------------------------------------------------------------------------------

_BASH = r"""# Completion of pyvmm in bash.

# Completes $3, of command $1: the value of option $2, or an option if $2 is -, or else an
# operand. It fails if there is no such option, or none with a value.
_pyvmm_complete() {
    case $1,$2 in
@CASES@
    *) return 1 ;;
    esac
}

_pyvmm_add() {
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$@")
}

_pyvmm() {
    local line=${COMP_LINE:0:COMP_POINT} words word broken typed
    read -ra words <<< "$line"
    typed=${line##*[[:space:]]}
    word=$typed
    [[ $word ]] && unset 'words[-1]'
    COMPREPLY=()
    if [[ $word == --*=* ]]; then
        typed=${word#*=}
        _pyvmm_complete "${words[1]}" "${word%%=*}=" "$typed"
    elif [[ ${words[-1]} == -?* ]] && _pyvmm_complete "${words[1]}" "${words[-1]}" "$word"; then
        :
    elif [[ ${words[1]} && $word == -* ]]; then
        _pyvmm_complete "${words[1]}" - "$word"
    else
        _pyvmm_complete "${words[1]}" '' "$word"
    fi
    # bash replaces only what follows the last of its word breaks, which = and : are.
    broken=${COMP_WORDS[COMP_CWORD]}
    [[ $broken == [=:] ]] && broken=
    COMPREPLY=("${COMPREPLY[@]#"${typed%"$broken"}"}")
    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace
}

complete -F _pyvmm pyvmm
"""


def bash() -> str:
    """The file for `bash-completion/completions`."""
    words = " ".join([*COMMANDS, *(name for name, _ in _OTHERS)])
    cases = [(",", _bash_action(words))]
    for command, (_, operand, *_) in COMMANDS.items():
        cases.append((f"{command},-", _bash_action(" ".join(option[0] for option in _options(command)))))
        cases.append((f"{command},", _bash_action(operand)))
        for name, takes, _, values, _ in _options(command):
            if takes == "optional":
                cases.append((f"{command},{name}=", _bash_action(values)))
            elif takes != "flag":
                cases.append((f"{command},{name} | {command},{name}=", _bash_action(values)))
    return _BASH.replace("@CASES@", "\n".join(f"    {case}) {action};;" for case, action in cases))


def _bash_action(values: str) -> str:
    if not values:
        return ""
    if values in ("FILE", "DIRECTORY"):
        return f'compopt -o filenames; _pyvmm_add -{"f" if values == "FILE" else "d"} -- "$3" '
    if "*" in values:
        adds = "; ".join(f"_pyvmm_add -f -X '!{pattern}' -- \"$3\"" for pattern in values.split())
        return f"compopt -o filenames -o plusdirs; {adds} "
    return f"_pyvmm_add -W '{values}' -- \"$3\" "


# ---- zsh -------------------------------------------------------------------------------

_ZSH = r"""#compdef pyvmm

_pyvmm() {
    local curcontext=$curcontext state line
    local -a commands=(@COMMANDS@)

    _arguments -C @OTHERS@ '1:command:->command' '*::argument:->argument'
    case $state in
    command) _describe command commands ;;
    argument)
        case $words[1] in
@CASES@
        esac
        ;;
    esac
}

_pyvmm "$@"
"""


def zsh() -> str:
    """The file for `zsh/site-functions`."""
    cases = []
    for command, (operand, values, *_) in COMMANDS.items():
        specs = [*map(_zsh_option, _options(command))]
        if operand:
            specs.append(_zsh_quote(f"1:{operand.strip('[]')}:{_zsh_action(values)}"))
        if command in ("bench", "cc"):  # what follows is not ours
            specs.append("'*:option: '")
        cases.append(
            f"        {command})\n            _arguments \\\n                {_CONTINUED.join(specs)}\n            ;;"
        )
    commands = " ".join(_zsh_quote(f"{name}:{COMMANDS[name][2]}") for name in COMMANDS)
    others = " ".join(_zsh_quote(f"{name}[{text}]") for name, text in _OTHERS)
    return _ZSH.replace("@COMMANDS@", commands).replace("@OTHERS@", others).replace("@CASES@", "\n".join(cases))


_CONTINUED = " \\\n                "


def _zsh_option(option: Option) -> str:
    name, takes, placeholder, values, _ = option
    text = _short(option)
    for character in "\\[]":
        text = text.replace(character, f"\\{character}")
    several = "*" if takes == "repeatable" else ""
    if takes == "flag":
        return _zsh_quote(f"{name}[{text}]")
    value = f"{_zsh_escape(placeholder)}:{_zsh_action(values)}"
    if takes == "optional":
        return _zsh_quote(f"{name}=-[{text}]::{value}")
    return _zsh_quote(f"{several}{name}{'=' if name.startswith('--') else ''}[{text}]:{value}")


def _zsh_action(values: str) -> str:
    if not values:
        return " "
    if values in ("FILE", "DIRECTORY"):
        return "_files" if values == "FILE" else "_files -/"
    if "*" in values:
        return f'_files -g "{values}"'
    return f"({_zsh_escape(values)})"


def _zsh_escape(text: str) -> str:
    return text.replace(":", r"\:")


def _zsh_quote(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


# ---- fish ------------------------------------------------------------------------------

_FISH = """# Completion of pyvmm in fish.

function __pyvmm_words
    test (count (commandline -opc)) -eq $argv[1]
end

function __pyvmm_command
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end

complete -c pyvmm -f
"""


def fish() -> str:
    """The file for `fish/vendor_completions.d`."""
    lines = []
    for name in COMMANDS:
        lines.append(f"complete -c pyvmm -n '__pyvmm_words 1' -a {name} -d {_fish_quote(COMMANDS[name][2])}")
    for name, text in _OTHERS:
        lines.append(f"complete -c pyvmm -n '__pyvmm_words 1' -l {name[2:]} -d {_fish_quote(text)}")
    for command, (_, operand, *_) in COMMANDS.items():
        condition = f"complete -c pyvmm -n '__pyvmm_command {command}'"
        for option in _options(command):
            name, takes, _, values, _ = option
            spelled = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            action = "" if takes == "flag" else f" {_fish_action(values, takes == 'optional')}"
            lines.append(f"{condition} {spelled}{action} -d {_fish_quote(_short(option))}")
        if words_of(operand):
            condition = f"complete -c pyvmm -n '__pyvmm_command {command}; and __pyvmm_words 2'"
        lines.append(f"{condition} {_fish_action(operand, True)}")
    return _FISH + "\n".join(lines) + "\n"


def _fish_action(values: str, optional: bool) -> str:
    """What a value may be, and unless it is optional that there must be one."""
    needed = "" if optional else "-r "
    if not values:
        return f"{needed}-f"
    if values == "FILE" or "*" in values:
        return f"{needed}-F"
    if values == "DIRECTORY":
        return f"{needed}-f -a '(__fish_complete_directories (commandline -ct))'"
    return f"{needed}-f -a '{values}'"


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", r"\'") + "'"
