//! The text of slapd.conf.

use std::fmt::Write as _;

use rustix::process::{getgid, getuid};

use super::{ADMIN_PASSWORD, Slapd};

impl Slapd {
    pub(super) fn configuration(&self) -> String {
        let dir = self.path("");
        let dir = dir.to_str().unwrap().trim_end_matches('/');
        let suffix = self.suffix();
        let root = self.admin_dn();
        let tls = self.certificates();
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let mut conf = String::new();
        for schema in ["core", "cosine", "inetorgperson", "nis", "dyngroup"] {
            writeln!(conf, "include /etc/ldap/schema/{schema}.schema").unwrap();
        }
        write!(
            conf,
            r#"include {dir}/test.schema
pidfile {dir}/slapd.pid
argsfile {dir}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
{load_syncprov}
moduleload accesslog
moduleload memberof
moduleload refint
moduleload sssvlv
moduleload ppolicy
moduleload dynlist
moduleload deref
moduleload pw-sha2

TLSCACertificateFile {ca}
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
TLSVerifyClient try

# SASL EXTERNAL: the subject of a client certificate, and this user over ldapi.
authz-regexp "^cn=([^,]+),ou=people,o=test$" "uid=$1,ou=people,{suffix}"
authz-regexp "^gidNumber={gid}\\+uidNumber={uid},cn=peercred,cn=external,cn=auth$" "{root}"
# SASL GSSAPI.
authz-regexp "^uid=([^,/]+)(,cn=[^,]+)?,cn=gssapi,cn=auth$" "uid=$1,ou=people,{suffix}"
sasl-host localhost
password-hash {{SSHA}}

# 500 entries for an unpaged search; a paged one may have all, 500 a page. The root DN bypasses both.
sizelimit size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited size.unchecked=unlimited
{global}

database config
rootdn "{root}"
database monitor
rootdn "{root}"
"#,
            // Loaded, it says in the root DSE that the server has it, whether a database uses it or not.
            load_syncprov = if self.options.syncprov.is_empty() && !self.options.accesslog {
                ""
            } else {
                "moduleload syncprov"
            },
            ca = tls.ca.display(),
            cert = tls.server_cert.display(),
            key = tls.server_key.display(),
            global = self.options.global_conf,
        )
        .unwrap();
        if self.options.accesslog {
            conf.push_str(&accesslog_database(dir, &root));
        }
        self.database(dir, &mut conf);
        conf
    }

    /// The database of the suffix, with its overlays.
    fn database(&self, dir: &str, conf: &mut String) {
        let (suffix, root) = (self.suffix(), self.admin_dn());
        write!(
            conf,
            r#"
database mdb
suffix "{suffix}"
rootdn "{root}"
rootpw {ADMIN_PASSWORD}
directory {dir}/db
maxsize 4294967296
dbnosync
index objectClass,uid,cn,mail,member,memberUid,entryCSN,entryUUID,modifyTimestamp eq
lastmod on
{access}
access to attrs=userPassword by self write by anonymous auth by dn.exact="{root}" write by * none
access to * by dn.exact="uid=reader,ou=people,{suffix}" read by self write by users read by anonymous read
limits dn.exact="uid=replica,ou=people,{suffix}" size=unlimited time=unlimited
{database}
{syncprov}
"#,
            access = self.options.access,
            syncprov = self.options.syncprov,
            database = self.options.database_conf,
        )
        .unwrap();
        if self.options.accesslog {
            conf.push_str("overlay accesslog\nlogdb cn=accesslog\nlogops writes\nlogsuccess TRUE\nlogold (objectClass=*)\n");
        }
        if self.options.memberof {
            write!(
                conf,
                "overlay memberof\nmemberof-group-oc groupOfNames\nmemberof-member-ad member\n\
                 memberof-memberof-ad memberOf\nmemberof-refint TRUE\noverlay refint\n\
                 refint_attributes member uniqueMember manager owner\nrefint_nothing \"{root}\"\n"
            )
            .unwrap();
        }
        conf.push_str("overlay sssvlv\nsssvlv-max 8\nsssvlv-maxkeys 5\noverlay deref\n");
    }
}

/// The database of the log that slapo-accesslog(5) keeps.
fn accesslog_database(dir: &str, root: &str) -> String {
    format!(
        r#"
database mdb
suffix cn=accesslog
rootdn "{root}"
directory {dir}/log
maxsize 1073741824
index objectClass,reqStart,reqEnd,reqResult,reqDN,entryCSN eq
overlay syncprov
syncprov-nopresent TRUE
syncprov-reloadhint TRUE
limits dn.exact="{root}" time=unlimited size=unlimited
"#
    )
}
