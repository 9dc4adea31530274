# bash completion for skiff(8). Made of its help; changes would be lost.
_skiff() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb='' root=() i
    COMPREPLY=()
    # bash takes a word apart at `=`.
    [[ $current != = ]] || current=''
    [[ $previous != = ]] || previous=${COMP_WORDS[COMP_CWORD - 2]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --root) [[ ${COMP_WORDS[i + 1]} = '=' ]] && ((i++)); root=(--root "${COMP_WORDS[i + 1]}") ;;&
            --root | --log | --log-format | --cgroup-manager | --rootless) [[ ${COMP_WORDS[i + 1]} = '=' ]] && ((i++)); ((i++)) ;;
            -*) ;;
            *) verb=${COMP_WORDS[i]} && break ;;
        esac
    done
    case $verb:$previous in
        :--root) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
        :--log) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        :--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current") && return ;;
        :--cgroup-manager) mapfile -t COMPREPLY < <(compgen -W 'cgroupfs systemd disabled' -- "$current") && return ;;
        :--rootless) mapfile -t COMPREPLY < <(compgen -W 'true false auto' -- "$current") && return ;;
        create:-b | create:--bundle) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
        create:--config) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        create:--console-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        create:--pidfd-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        create:--pid-file) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        create:--preserve-fds) mapfile -t COMPREPLY < <(true) && return ;;
        run:-b | run:--bundle) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
        run:--config) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        run:--console-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        run:--pidfd-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        run:--pid-file) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        run:--preserve-fds) mapfile -t COMPREPLY < <(true) && return ;;
        exec:-p | exec:--process) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        exec:--cwd) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
        exec:-e | exec:--env) mapfile -t COMPREPLY < <(true) && return ;;
        exec:-u | exec:--user) mapfile -t COMPREPLY < <(true) && return ;;
        exec:-g | exec:--additional-gids) mapfile -t COMPREPLY < <(true) && return ;;
        exec:-c | exec:--cap) mapfile -t COMPREPLY < <(true) && return ;;
        exec:--apparmor) mapfile -t COMPREPLY < <(true) && return ;;
        exec:--pid-file) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        exec:--console-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        exec:--pidfd-socket) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        exec:--preserve-fds) mapfile -t COMPREPLY < <(true) && return ;;
        exec:--cgroup) mapfile -t COMPREPLY < <(true) && return ;;
        update:-r | update:--resources) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        update:--memory) mapfile -t COMPREPLY < <(true) && return ;;
        update:--memory-reservation) mapfile -t COMPREPLY < <(true) && return ;;
        update:--memory-swap) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-period) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-quota) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-burst) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-share) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-idle) mapfile -t COMPREPLY < <(compgen -W '0 1' -- "$current") && return ;;
        update:--cpu-rt-period) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpu-rt-runtime) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpuset-cpus) mapfile -t COMPREPLY < <(true) && return ;;
        update:--cpuset-mems) mapfile -t COMPREPLY < <(true) && return ;;
        update:--pids-limit) mapfile -t COMPREPLY < <(true) && return ;;
        update:--blkio-weight) mapfile -t COMPREPLY < <(true) && return ;;
        ps:-f | ps:--format) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$current") && return ;;
        events:--interval) mapfile -t COMPREPLY < <(true) && return ;;
        list:-f | list:--format) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$current") && return ;;
        spec:-b | spec:--bundle) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
    esac
    case $verb:$current in
        :-*) mapfile -t COMPREPLY < <(compgen -W '--root --log --log-format --debug --cgroup-manager --systemd-cgroup --rootless -h --help -v --version' -- "$current") ;;
        create:-*) mapfile -t COMPREPLY < <(compgen -W '-b --bundle --config --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --help' -- "$current") ;;
        start:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        run:-*) mapfile -t COMPREPLY < <(compgen -W '-b --bundle --config --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds -d --detach --keep --no-subreaper --help' -- "$current") ;;
        state:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        exec:-*) mapfile -t COMPREPLY < <(compgen -W '-p --process --cwd -e --env -u --user -g --additional-gids -c --cap --apparmor --no-new-privs -t --tty -d --detach --pid-file --console-socket --pidfd-socket --preserve-fds --ignore-paused --cgroup --help' -- "$current") ;;
        kill:-*) mapfile -t COMPREPLY < <(compgen -W '-a --all --help' -- "$current") ;;
        delete:-*) mapfile -t COMPREPLY < <(compgen -W '-f --force --help' -- "$current") ;;
        pause:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        resume:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        update:-*) mapfile -t COMPREPLY < <(compgen -W '-r --resources --memory --memory-reservation --memory-swap --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-idle --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --pids-limit --blkio-weight --help' -- "$current") ;;
        ps:-*) mapfile -t COMPREPLY < <(compgen -W '-f --format --help' -- "$current") ;;
        events:-*) mapfile -t COMPREPLY < <(compgen -W '--interval --stats --help' -- "$current") ;;
        list:-*) mapfile -t COMPREPLY < <(compgen -W '-f --format -q --quiet --help' -- "$current") ;;
        spec:-*) mapfile -t COMPREPLY < <(compgen -W '-b --bundle --rootless --help' -- "$current") ;;
        features:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        :*) mapfile -t COMPREPLY < <(compgen -W 'create start run state exec kill delete pause resume update ps events list spec features' -- "$current") ;;
        start:* | state:* | exec:* | kill:* | delete:* | pause:* | resume:* | update:* | ps:* | events:*)
            mapfile -t COMPREPLY < <(compgen -W "$(skiff "${root[@]}" list --quiet 2>/dev/null)" -- "$current") ;;
    esac
}
complete -o default -F _skiff skiff
