"""The people, groups and roles of the directories that the service tests use."""

import base64
import dataclasses

SUFFIX = "dc=example,dc=test"


@dataclasses.dataclass(frozen=True)
class Person:
    """A person: the login name, the RDN as text (RFC 4514), and the attributes."""

    uid: str
    rdn: str
    cn: str
    sn: str
    password: str

    def dn(self, suffix=SUFFIX):
        return f"{self.rdn},ou=people,{suffix}"

    @property
    def mail(self):
        # Not .test: what checks e-mail addresses may refuse names of special use (RFC 6761).
        return f"{self.uid}@example.com"


def person(uid, cn, sn, rdn=None, password=None):
    """A person whose password occurs nowhere else, so that a log or an answer with it is noticed."""
    return Person(uid, rdn or f"uid={uid}", cn, sn, password or f"Pw-{uid}-7Qz!")


ADA = person("ada", "Ada Lovelace", "Lovelace")
JANE = person("jane", "Smith, Jane", "Smith", r"cn=Smith\, Jane")
BOB = person("bob", "Bob (ext)", "Ext", "cn=Bob (ext)")
SLASH = person("slash", "Back\\slash *", "Slash", r"cn=Back\\slash *")
PLUS = person("plus", "Plus + One", "One", r"cn=Plus \+ One+employeeNumber=17")
HASH = person("hash", "#hash;<x>=\"y\"", "Hash", r"cn=\#hash\;\<x\>=\"y\"")
EMILE = person("emile", "Émile Zoë 東京", "Zoë", "cn=Émile Zoë 東京", password="Päß-wörd-東京-€")
# Octets that are no UTF-8 are in test_traps.py. A colon is legal in a password of HTTP Basic (RFC 7617).
COLON = person("colon", "Colon", "Colon", password="Pw:colon:with:colons")
EVE = person("eve", "Eve Outside", "Outside")
PEOPLE = [ADA, JANE, BOB, SLASH, PLUS, HASH, EMILE, COLON, EVE]
HARD = [JANE, BOB, SLASH, PLUS, HASH, EMILE]

# The account that the service binds with. It may read, and write people and groups.
SERVICE_UID, SERVICE_PASSWORD = "svc-reader", "Svc-secret-4Tk!"


def entry(dn, **attributes):
    """LDIF of an entry; a list is several values. Texts are in base64, so that any will do."""
    lines = [f"dn:: {base64.b64encode(dn.encode()).decode()}"]
    for name, values in attributes.items():
        for value in values if isinstance(values, list) else [values]:
            lines.append(f"{name}:: {base64.b64encode(str(value).encode()).decode()}")
    return "\n".join(lines) + "\n\n"


def service_dn(suffix=SUFFIX):
    """The DN that the service binds with."""
    return f"uid={SERVICE_UID},ou=services,{suffix}"


def group_dn(name, suffix=SUFFIX, unit="groups"):
    return f"cn={name},ou={unit},{suffix}"


def groups(suffix=SUFFIX):
    """The groups as (DN, members): nested ones, a cycle, and groups that only look like `admins`."""

    def dn(name, unit="groups"):
        return group_dn(name, suffix, unit)

    return [
        # Not as the entries spell it: another case, blanks, escapes by hex.
        (dn("admins"), [f"UID=Ada , OU=People,{suffix.upper()}", JANE.dn(suffix).replace("\\,", "\\2c"), BOB.dn(suffix)]),
        (dn("engineering"), [p.dn(suffix) for p in HARD]),
        # Nested: all of engineering are staff, by way of technics.
        (dn("technics"), [dn("engineering")]),
        (dn("staff"), [dn("technics"), ADA.dn(suffix)]),
        (dn("loop-a"), [dn("loop-b"), ADA.dn(suffix)]),
        (dn("loop-b"), [dn("loop-a")]),
        # Decoys of trap 13: the same cn elsewhere, the name as a part of another, and a name within a value.
        (dn("admins", "decoys"), [EVE.dn(suffix)]),
        (dn("not-admins"), [EVE.dn(suffix)]),
        (f"cn=cn\\=admins\\,ou\\=groups\\,{suffix.replace('=', chr(92) + '=').replace(',', chr(92) + ',')},ou=groups,{suffix}", [EVE.dn(suffix)]),
        # Roles by their own name, below ou=roles.
        (dn("auditor", "roles"), [ADA.dn(suffix)]),
        (dn("operator", "roles"), [dn("engineering")]),
    ]


def cn_of(dn):
    """The value of the first RDN, unescaped."""
    value, escaped, pairs = "", False, dn.partition("=")[2]
    for character in pairs:
        if not escaped and character in ",+":
            break
        escaped = not escaped and character == "\\"
        value += "" if escaped else character
    return value


def ldif(suffix=SUFFIX, with_suffix=True, units=()):
    """The whole content. 389 makes the suffix entry itself."""
    text = entry(suffix, objectClass=["dcObject", "organization"], dc="example", o="Test") if with_suffix else ""
    for unit in ("people", "groups", "roles", "decoys", "services", *units):
        text += entry(f"ou={unit},{suffix}", objectClass="organizationalUnit", ou=unit)
    text += entry(
        service_dn(suffix), objectClass="inetOrgPerson", uid=SERVICE_UID, cn="Service", sn="Service", userPassword=SERVICE_PASSWORD
    )
    for p in PEOPLE:
        more = {"employeeNumber": "17"} if p is PLUS else {}
        text += entry(
            p.dn(suffix), objectClass="inetOrgPerson", uid=p.uid, cn=p.cn, sn=p.sn, displayName=p.cn, mail=p.mail,
            userPassword=p.password, **more,
        )
    for dn, members in groups(suffix):
        text += entry(dn, objectClass="groupOfNames", cn=cn_of(dn), member=members)
    return text


def crowd(count, suffix=SUFFIX, first=0):
    """LDIF of more people: `user0` with the password `Pw-user0-7Qz!`, and so on."""
    for i in range(first, first + count):
        p = person(f"user{i}", f"User {i}", f"Number {i}")
        yield entry(
            p.dn(suffix), objectClass="inetOrgPerson", uid=p.uid, cn=p.cn, sn=p.sn, mail=p.mail, userPassword=p.password
        )
