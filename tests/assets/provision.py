"""provision.py CONFIGURATION ARGUMENT...: `samba-tool domain provision` without the ACLs of the sysvol share.

Only root may set those, and LDAP has no use for them. Then lets the domain take any password at once, for ever.
Run with the interpreter of samba-tool."""
import sys

import samba.provision
from samba.netcmd.main import cmd_sambatool

configuration, *arguments = sys.argv[1:]
samba.provision.setsysvolacl = lambda *args, **kwargs: None
failed = cmd_sambatool()._run("samba-tool", "domain", "provision", *arguments)
sys.exit(failed or cmd_sambatool()._run(
    "samba-tool", "domain", "passwordsettings", "set", "-s", configuration, "--complexity=off",
    "--history-length=0", "--min-pwd-age=0", "--max-pwd-age=0", "--min-pwd-length=4"))
