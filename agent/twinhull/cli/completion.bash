# bash completion of twinhull. Generated: twinhull completion bash
_twinhull() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local path="" index words=""
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$path ${COMP_WORDS[index]}" in
            " status"|" start"|" stop"|" restart"|" stopstart"|" swap"|" checker"|" checker suspend"|" checker resume"|" protect"|" unprotect"|" verify"|" job"|" rescue"|" rescue list"|" rescue show"|" rescue mount"|" rescue unmount"|" rescue diff"|" rescue export"|" rescue rollback"|" rescue drop"|" logs"|" snapshot"|" config"|" config check"|" config show"|" config apply"|" config normalise"|" pki"|" pki init"|" pki issue"|" pki renew"|" pki show"|" console"|" console password"|" agent"|" agent run"|" worker"|" exit-codes"|" completion")
                path="$path ${COMP_WORDS[index]}" ;;
        esac
    done
    case "$path $previous" in
        " --node-config") words="@files" ;;
        " --node") words=" " ;;
        " status --node-config") words="@files" ;;
        " status --node") words=" " ;;
        " status --interval") words=" " ;;
        " start --node-config") words="@files" ;;
        " start --node") words=" " ;;
        " start --timeout") words=" " ;;
        " start --yes") words="@modules" ;;
        " stop --node-config") words="@files" ;;
        " stop --node") words=" " ;;
        " stop --timeout") words=" " ;;
        " stop --yes") words="@modules" ;;
        " restart --node-config") words="@files" ;;
        " restart --node") words=" " ;;
        " restart --timeout") words=" " ;;
        " stopstart --node-config") words="@files" ;;
        " stopstart --node") words=" " ;;
        " stopstart --timeout") words=" " ;;
        " swap --node-config") words="@files" ;;
        " swap --node") words=" " ;;
        " swap --timeout") words=" " ;;
        " swap --mode") words="stop save" ;;
        " checker --node-config") words="@files" ;;
        " checker --node") words=" " ;;
        " checker suspend --node-config") words="@files" ;;
        " checker suspend --node") words=" " ;;
        " checker suspend --timeout") words=" " ;;
        " checker resume --node-config") words="@files" ;;
        " checker resume --node") words=" " ;;
        " checker resume --timeout") words=" " ;;
        " protect --node-config") words="@files" ;;
        " protect --node") words=" " ;;
        " protect --domain") words=" " ;;
        " protect --yes") words="@modules" ;;
        " protect --timeout") words=" " ;;
        " unprotect --node-config") words="@files" ;;
        " unprotect --node") words=" " ;;
        " unprotect --target") words="@files" ;;
        " unprotect --yes") words="@modules" ;;
        " unprotect --timeout") words=" " ;;
        " verify --node-config") words="@files" ;;
        " verify --node") words=" " ;;
        " verify --source") words=" " ;;
        " verify --timeout") words=" " ;;
        " job --node-config") words="@files" ;;
        " job --node") words=" " ;;
        " job --timeout") words=" " ;;
        " rescue --node-config") words="@files" ;;
        " rescue --node") words=" " ;;
        " rescue list --node-config") words="@files" ;;
        " rescue list --node") words=" " ;;
        " rescue show --node-config") words="@files" ;;
        " rescue show --node") words=" " ;;
        " rescue mount --node-config") words="@files" ;;
        " rescue mount --node") words=" " ;;
        " rescue mount --timeout") words=" " ;;
        " rescue unmount --node-config") words="@files" ;;
        " rescue unmount --node") words=" " ;;
        " rescue diff --node-config") words="@files" ;;
        " rescue diff --node") words=" " ;;
        " rescue diff --timeout") words=" " ;;
        " rescue export --node-config") words="@files" ;;
        " rescue export --node") words=" " ;;
        " rescue export --timeout") words=" " ;;
        " rescue export --path") words=" " ;;
        " rescue export --to") words="@files" ;;
        " rescue export --image") words="@files" ;;
        " rescue rollback --node-config") words="@files" ;;
        " rescue rollback --node") words=" " ;;
        " rescue rollback --timeout") words=" " ;;
        " rescue rollback --yes") words="@modules" ;;
        " rescue drop --node-config") words="@files" ;;
        " rescue drop --node") words=" " ;;
        " rescue drop --yes") words="@modules" ;;
        " logs --node-config") words="@files" ;;
        " logs --node") words=" " ;;
        " logs -n") words=" " ;;
        " logs --lines") words=" " ;;
        " logs --since") words=" " ;;
        " logs --level") words="DEBUG INFO WARNING ERROR CRITICAL" ;;
        " snapshot --node-config") words="@files" ;;
        " snapshot --node") words=" " ;;
        " snapshot -o") words="@files" ;;
        " snapshot --output") words="@files" ;;
        " snapshot --timeout") words=" " ;;
        " config --node-config") words="@files" ;;
        " config --node") words=" " ;;
        " config check --node-config") words="@files" ;;
        " config check --node") words=" " ;;
        " config show --node-config") words="@files" ;;
        " config show --node") words=" " ;;
        " config apply --node-config") words="@files" ;;
        " config apply --node") words=" " ;;
        " config normalise --node-config") words="@files" ;;
        " config normalise --node") words=" " ;;
        " pki --node-config") words="@files" ;;
        " pki --node") words=" " ;;
        " pki init --node-config") words="@files" ;;
        " pki init --node") words=" " ;;
        " pki init --cluster") words=" " ;;
        " pki init --ca") words="@files" ;;
        " pki init --days") words=" " ;;
        " pki issue --node-config") words="@files" ;;
        " pki issue --node") words=" " ;;
        " pki issue --role") words="node operator" ;;
        " pki issue --out") words="@files" ;;
        " pki issue --ca") words="@files" ;;
        " pki issue --days") words=" " ;;
        " pki renew --node-config") words="@files" ;;
        " pki renew --node") words=" " ;;
        " pki renew --role") words="node operator" ;;
        " pki renew --out") words="@files" ;;
        " pki renew --ca") words="@files" ;;
        " pki renew --days") words=" " ;;
        " pki show --node-config") words="@files" ;;
        " pki show --node") words=" " ;;
        " console --node-config") words="@files" ;;
        " console --node") words=" " ;;
        " console password --node-config") words="@files" ;;
        " console password --node") words=" " ;;
        " agent --node-config") words="@files" ;;
        " agent --node") words=" " ;;
        " agent run --node-config") words="@files" ;;
        " agent run --node") words=" " ;;
        " worker --node-config") words="@files" ;;
        " worker --node") words=" " ;;
        " exit-codes --node-config") words="@files" ;;
        " exit-codes --node") words=" " ;;
        " completion --node-config") words="@files" ;;
        " completion --node") words=" " ;;
    esac
    if [[ -z $words ]]; then
        case "$path" in
            "") words="-h --help --node-config --node --json --version status start stop restart stopstart swap checker protect unprotect verify job rescue logs snapshot config pki console agent worker exit-codes completion" ;;
            " status") words="-h --help --node-config --node --json --watch --interval --check" ;;
            " start") words="-h --help --node-config --node --json @modules --no-wait --timeout --as-primary --yes" ;;
            " stop") words="-h --help --node-config --node --json @modules --no-wait --timeout --forced --yes" ;;
            " restart") words="-h --help --node-config --node --json @modules --no-wait --timeout" ;;
            " stopstart") words="-h --help --node-config --node --json @modules --no-wait --timeout" ;;
            " swap") words="-h --help --node-config --node --json @modules --no-wait --timeout --mode --abandon" ;;
            " checker") words="-h --help --node-config --node --json suspend resume" ;;
            " checker suspend") words="-h --help --node-config --node --json @modules --no-wait --timeout" ;;
            " checker resume") words="-h --help --node-config --node --json @modules --no-wait --timeout" ;;
            " protect") words="-h --help --node-config --node --json @modules --domain --stop-vm --yes --no-wait --timeout" ;;
            " unprotect") words="-h --help --node-config --node --json @modules --target --yes --no-wait --timeout" ;;
            " verify") words="-h --help --node-config --node --json @modules --repair --source --abandon --no-wait --timeout" ;;
            " job") words="-h --help --node-config --node --json --no-wait --timeout" ;;
            " rescue") words="-h --help --node-config --node --json list show mount unmount diff export rollback drop" ;;
            " rescue list") words="-h --help --node-config --node --json @modules" ;;
            " rescue show") words="-h --help --node-config --node --json @modules" ;;
            " rescue mount") words="-h --help --node-config --node --json @modules --no-wait --timeout --partial" ;;
            " rescue unmount") words="-h --help --node-config --node --json @modules" ;;
            " rescue diff") words="-h --help --node-config --node --json @modules --no-wait --timeout" ;;
            " rescue export") words="-h --help --node-config --node --json @modules --no-wait --timeout --path --to --image --partial" ;;
            " rescue rollback") words="-h --help --node-config --node --json @modules --no-wait --timeout --yes" ;;
            " rescue drop") words="-h --help --node-config --node --json @modules --yes" ;;
            " logs") words="-h --help --node-config --node --json @modules -f --follow -n --lines --since --level" ;;
            " snapshot") words="-h --help --node-config --node --json --anonymise -o --output --timeout" ;;
            " config") words="-h --help --node-config --node --json check show apply normalise" ;;
            " config check") words="-h --help --node-config --node --json @files" ;;
            " config show") words="-h --help --node-config --node --json" ;;
            " config apply") words="-h --help --node-config --node --json @files --dry-run" ;;
            " config normalise") words="-h --help --node-config --node --json @files" ;;
            " pki") words="-h --help --node-config --node --json init issue renew show" ;;
            " pki init") words="-h --help --node-config --node --json --cluster --ca --days" ;;
            " pki issue") words="-h --help --node-config --node --json --role --out --ca --days" ;;
            " pki renew") words="-h --help --node-config --node --json --role --out --ca --days" ;;
            " pki show") words="-h --help --node-config --node --json @files" ;;
            " console") words="-h --help --node-config --node --json password" ;;
            " console password") words="-h --help --node-config --node --json --check" ;;
            " agent") words="-h --help --node-config --node --json run" ;;
            " agent run") words="-h --help --node-config --node --json" ;;
            " worker") words="-h --help --node-config --node --json @modules" ;;
            " exit-codes") words="-h --help --node-config --node --json" ;;
            " completion") words="-h --help --node-config --node --json bash modules" ;;
        esac
    fi
    if [[ $words == *@modules* ]]; then
        words="${words/@modules/$(twinhull completion modules 2>/dev/null)}"
    fi
    if [[ $words == *@files* ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
        words="${words/@files/}"
    fi
    COMPREPLY+=($(compgen -W "$words" -- "$current"))
}
complete -F _twinhull twinhull
