# Reads one JSON object a line, {"possible": [...], "profile": {...}}, and prints the program that libseccomp makes of each,
# in hexadecimal; the rules are given to it as runc does. "names": true asks for the numbers of all names instead.
import json, sys, tempfile
import seccomp
from seccomp import Arch, Arg, SyscallFilter

ARCHES = {"x86_64": Arch.X86_64, "x86": Arch.X86, "x32": Arch.X32, "arm": Arch.ARM, "aarch64": Arch.AARCH64}
OPERATORS = {"NE": seccomp.NE, "LT": seccomp.LT, "LE": seccomp.LE, "EQ": seccomp.EQ, "GE": seccomp.GE, "GT": seccomp.GT,
             "MASKED_EQ": seccomp.MASKED_EQ}


def action(word, number):
    plain = {"KILL": seccomp.KILL, "KILL_THREAD": seccomp.KILL, "KILL_PROCESS": seccomp.KILL_PROCESS, "TRAP": seccomp.TRAP,
             "LOG": seccomp.LOG, "NOTIFY": seccomp.NOTIFY, "ALLOW": seccomp.ALLOW}
    word = word.removeprefix("SCMP_ACT_")
    if word in plain:
        return plain[word]
    return {"ERRNO": seccomp.ERRNO, "TRACE": seccomp.TRACE}[word](1 if number is None else number)


def argument(arg):
    operator = OPERATORS[arg["op"].removeprefix("SCMP_CMP_")]
    return Arg(arg["index"], operator, arg["value"], arg.get("valueTwo", 0))


def compiled(possible, profile):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules = SyscallFilter(default)
    native = rules.exist_arch(Arch.X86_64)
    for name in possible:
        if not rules.exist_arch(ARCHES[name]):
            rules.add_arch(ARCHES[name])
    if native and "x86_64" not in possible:
        rules.remove_arch(Arch.X86_64)
    for entry in profile["syscalls"]:
        what = action(entry["action"], entry.get("errnoRet"))
        if what == default:
            continue
        args = [argument(arg) for arg in entry.get("args", [])]
        indices = [arg["index"] for arg in entry.get("args", [])]
        for name in entry["names"]:
            if len(set(indices)) < len(indices):
                alternatives = [[arg] for arg in args]
            else:
                alternatives = [args]
            for alternative in alternatives:
                try:
                    rules.add_rule(what, name, *alternative)
                except RuntimeError as error:
                    # The first of two rules without conditions stands; of some calls libseccomp says so.
                    if "-17" in str(error):
                        continue
                    sys.exit(f"{name} {entry}: {error}")
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read().hex()


for line in sys.stdin:
    asked = json.loads(line)
    if "names" in asked:
        numbers = [seccomp.resolve_syscall(ARCHES[asked["arch"]], name) for name in asked["names"]]
        print(json.dumps(numbers))
    else:
        print(compiled(asked["possible"], asked["profile"]))
