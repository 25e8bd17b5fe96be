# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_target_ldap_global_optspecs
    string join \n config= about format= test= log-level= log-format= progress= input= retry-rejects outdated only= dry-run plan-format= h/help V/version
end

function __fish_target_ldap_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_target_ldap_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_target_ldap_using_subcommand
    set -l cmd (__fish_target_ldap_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c target-ldap -n "__fish_target_ldap_needs_command" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l format -d 'The format of --about' -r -f -a "text\t'For people'
json\t'For Meltano, in the shape of the Singer SDK'
markdown\t'For a README'"
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l test -d 'Connect, bind and read a sample, then print a health report as JSON' -r -f -a "all\t'Everything'
records\t'One record of each selected stream'
schema\t'The schema only'"
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l progress -d 'When to show progress' -r -f -a "auto\t'Bars if stderr is a terminal that no other program of a pipeline writes to; lines if one may; else nothing'
always\t'Bars if stderr is a terminal; else lines at intervals'
never\t'Nothing'"
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l input -d 'Read messages from a file instead of stdin' -r
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l only -d 'Handle the record with this key alone, to try a rule: the value of its key property, or `a=1,b=2`. The others are passed over; no version is carried out, and no STATE is printed' -r
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l plan-format -d 'The format of --dry-run: diff on a terminal, else ldif, by default' -r -f -a "ldif\t'LDIF change records (RFC 2849), for `ldapmodify`'
diff\t'Colored lines for people'
json\t'One JSON object per line'
html\t'One HTML page for people: each change with the values before and after it'"
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l about -d 'Print name, capabilities and settings of this executable, then stop'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l retry-rejects -d 'The input is a reject file (setting reject_file): try its records again'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l outdated -d 'With --retry-rejects: also write the records that have come again since, or whose streams have come as a whole'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -l dry-run -d 'Write nothing: read the directory and print the changes'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -s V -l version -d 'Print version'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "init" -d 'Ask for server and user, test them, and write a first configuration'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "doctor" -d 'Check what this configuration may do in the directory, and list requests to its administrator; writes nothing'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "man" -d 'Print the manual page in roff; `man | man -l -` shows it'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "apply" -d 'Carry out the plan of a run that was held back, entry by entry: entries that changed since are left as they are and reported (exit code 4)'
complete -c target-ldap -n "__fish_target_ldap_needs_command" -f -a "undo" -d 'Undo a run, entry by entry: entries that changed since are left as they are and reported (exit code 4)'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l output -d 'The configuration file to write; other files are written beside it [default: tap.json, target.json or service.json]' -r -F
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l input -d 'Propose a mapping rule for each stream of a file of Singer messages, from its SCHEMA' -r -F
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -l yes -d 'Ask nothing: use --config, and suggested values for the rest'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand doctor" -l format -d 'The format of the report' -r -f -a "text\t'For people'
json\t'One JSON object'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand doctor" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand doctor" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand doctor" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand completions" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand completions" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand completions" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand man" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand man" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand man" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l plan-format -d 'The format of --dry-run: diff on a terminal, else ldif, by default' -r -f -a "ldif\t'LDIF change records (RFC 2849), for `ldapmodify`'
diff\t'Colored lines for people'
json\t'One JSON object per line'
html\t'One HTML page for people: each change with the values before and after it'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l dry-run -d 'Write nothing: print the changes that would be made now'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -l outdated -d 'Carry the plan out although a later run with the same streams was carried out'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l plan-format -d 'The format of --dry-run: diff on a terminal, else ldif, by default' -r -f -a "ldif\t'LDIF change records (RFC 2849), for `ldapmodify`'
diff\t'Colored lines for people'
json\t'One JSON object per line'
html\t'One HTML page for people: each change with the values before and after it'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l config -d 'A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l log-level -d 'Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module\'s level, after a comma: info,ldap_directory=debug' -r
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l log-format -d 'The log format; the default is text, unless Meltano requests another one' -r -f -a "text\t'`2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer\'s Python plugins'
json\t'One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields'
singer\t'One JSON object per line in the Singer SDK\'s form, which Meltano requests by SINGER_SDK_LOG_CONFIG'"
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l dry-run -d 'Write nothing: print the changes that would undo the run'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l unchecked -d 'Apply a file without a record of what the run left (of an earlier version), without checking the entries first'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -l another-server -d 'Undo the run on another server than it was made on: a replica, or the same server under another name or URL'
complete -c target-ldap -n "__fish_target_ldap_using_subcommand undo" -s h -l help -d 'Print help (see more with \'--help\')'
