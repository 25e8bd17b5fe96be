#!/usr/bin/env python3
"""Writes the demo company's directory as LDIF (RFC 2849) on stdout.

    python3 catalogs/demo/generate.py > catalogs/demo/company.ldif

Same output on every machine: standard library only, and of `random` only `random()`, whose sequence
Python guarantees for a given seed. All people, numbers and addresses are invented: the domain is RFC 2606's,
telephone numbers come from the ranges kept for fiction, IP addresses from RFC 5737. The result loads into slapd
with its core, cosine, inetorgperson and nis schemas.
"""

import base64
import hashlib
import random
import struct
import sys

SUFFIX = "dc=example,dc=com"
PEOPLE = 200
rng = random.Random("tap-ldap and target-ldap demo")

REGIONS = {
    "emea": ("London", "GB", "+44 20 7946 {:04d}", ["engineering", "finance", "sales", "support"]),
    "americas": ("Denver", "US", "+1 202 555 {:04d}", ["marketing", "operations", "sales"]),
    "apac": ("Sydney", "AU", "+61 2 5550 {:04d}", ["research", "sales", "support"]),
}
# The same department has the same number in every region.
DEPARTMENTS = {
    "engineering": 1100, "research": 1200, "finance": 2100, "operations": 2200,
    "marketing": 3100, "sales": 3200, "support": 4100,
}
GIVEN = """Ada Aiko Alain Amara Anders Aylin Beatriz Bruno Carmen Chidi Clara Dario Dewi Elena Emeka Fatima
Felix Greta Hana Henrik Ines Ivan Jonas Kofi Lars Leila Lin Lucia Mateo Mei Mina Nadia Noah Olga Omar Paula
Priya Rafael Rosa Samir Sofia Tomas Uma Viktor Wei Yara Yusuf Zora""".split()
FAMILY = """Abara Adler Almeida Andersen Baker Becker Castro Chen Costa Duarte Eriksen Farouk Fischer Garcia
Haddad Hansen Ito Jansen Kaya Keller Kimura Kowalski Larsen Lopez Mbeki Moreau Mori Nakano Novak Okafor Olsen
Park Patel Petrov Quist Ramos Rossi Santos Sato Silva Singh Tanaka Thorne Ueda Vargas Weber Yilmaz Zhang""".split()
TITLES = ["Analyst", "Associate", "Coordinator", "Senior Specialist", "Specialist", "Team Lead"]
CONTRACTORS = [  # cn (in the RDN), given name, family name, uid, further attributes
    ("O'Brien, Anne", "Anne", "O'Brien", "anne.obrien", []),
    ("Müller-Lüdenscheid, Jürgen", "Jürgen", "Müller-Lüdenscheid", "juergen.mueller",
     [("cn;lang-de", "Jürgen Müller-Lüdenscheid"), ("title;lang-de", "Beraterin für Straßenbau")]),
    ("山田 太郎", "Taro", "Yamada", "taro.yamada",
     [("cn", "Taro Yamada"), ("cn;lang-ja", "山田 太郎"), ("sn;lang-ja", "山田"), ("givenName;lang-ja", "太郎")]),
    ("Park, Min-ji", "Min-ji", "Park", "minji.park", [("cn;lang-ko", "박민지")]),
    ("#1 Fixer", "Hal", "Fixer", "hal.fixer", []),
    ('Robert "Bob" Tables', "Robert", "Tables", "bob.tables", []),
    ("Zoë <zoe> \\ Backslash; Ltd", "Zoë", "Backslash", "zoe.backslash", []),
    ("Ōta = Ren", "Ren", "Ōta", "ren.ota", []),
]


def pick(choices):
    return choices[int(rng.random() * len(choices))]


def rdn(attribute, value):
    """One `attribute=value` of a DN, escaped by RFC 4514."""
    text = "".join("\\" + c if c in '",+;<>\\=' else c for c in value)
    return f"{attribute}={chr(92) if value[0] in ' #' else ''}{text}"


def ssha(name):
    """{SSHA} of 24 random bytes that nobody keeps: shaped like a password, opens nothing."""
    secret = hashlib.sha256(f"{name} {rng.random()}".encode()).digest()
    salt = secret[24:]
    return "{SSHA}" + base64.b64encode(hashlib.sha1(secret[:24] + salt).digest() + salt).decode()


def photo():
    """A baseline greyscale JPEG, 64 by 64: a face whose 8x8 blocks are one shade each.

    A flat block has a DC coefficient only, so no cosine transform is needed and the one AC code is "end of block".
    """
    picture = ["........", ".######.", "#.####.#", "########", "#.####.#", "##....##", ".######.", "........"]
    # ITU T.81 table K.3, the usual Huffman codes for luminance DC: lengths of the categories 0 to 11.
    counts = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    codes, code, category = [], 0, 0
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            codes.append(format(code, f"0{length}b"))
            code, category = code + 1, category + 1
        code <<= 1
    bits, before = "", 0
    for cell in "".join(picture):
        shade = 90 if cell == "#" else -90
        step, before = shade - before, shade
        size = abs(step).bit_length()
        bits += codes[size]
        if size:
            bits += format(step if step > 0 else step + (1 << size) - 1, f"0{size}b")
        bits += "0"  # end of block
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    return b"".join([
        b"\xff\xd8",
        segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        segment(0xDB, b"\0" + bytes([8] * 64)),
        segment(0xC0, struct.pack(">BHHBBBB", 8, 64, 64, 1, 1, 0x11, 0)),
        segment(0xC4, b"\0" + bytes(counts) + bytes(range(category))),
        segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),
        segment(0xDA, b"\x01\x01\0\0\x3f\0"),
        data,
        b"\xff\xd9",
    ])


def line(name, value):
    raw = value if isinstance(value, bytes) else str(value).encode()
    # RFC 2849 SAFE-STRING; a trailing space is legal there and lost in practice.
    safe = all(0 < b < 128 and b not in b"\r\n" for b in raw) and raw[:1] not in (b" ", b":", b"<")
    if safe and not raw.endswith(b" "):
        text = f"{name}: {raw.decode()}"
    else:
        text = f"{name}:: {base64.b64encode(raw).decode()}"
    rest = text[76:]
    folded = "".join("\n " + rest[i:i + 75] for i in range(0, len(rest), 75))
    return text[:76] + folded + "\n"


def entry(dn, classes, attributes):
    out = [line("dn", dn)] + [line("objectClass", c) for c in classes]
    out += [line(name, value) for name, value in attributes if value is not None]
    sys.stdout.write("".join(out) + "\n")


def ou(name, parent, description=None):
    dn = f"ou={name},{parent}"
    entry(dn, ["organizationalUnit"], [("ou", name), ("description", description)])
    return dn


class Staff:
    """The people written so far: their numbers, accounts and who belongs where."""

    def __init__(self):
        self.number = 10000
        self.uids = set()
        self.dns = []
        self.managers = []
        self.departments = {}

    def name(self):
        while True:
            given, family = pick(GIVEN), pick(FAMILY)
            if f"{given}.{family}".lower() not in self.uids:
                return given, family

    def add(self, parent, region, title, manager, department=None, head=False, uid=None, extra=()):
        city, country, phone, _ = REGIONS[region]
        given, family = self.name()
        uid = uid or f"{given}.{family}".lower()
        self.uids.add(f"{given}.{family}".lower())
        self.number += 1
        n = self.number - 10000
        dn = f"{rdn('uid', uid)},{parent}"
        classes = ["top", "person", "organizationalPerson", "inetOrgPerson"]
        attributes = [
            ("uid", uid), ("cn", f"{given} {family}"), ("sn", family), ("givenName", given),
            ("displayName", f"{given} {family}"), ("title", title), ("mail", f"{uid}@example.com"),
            ("mail", f"{given[0].lower()}{n}@example.com" if n % 7 == 0 else None),
            ("employeeNumber", self.number), ("employeeType", "permanent"),
            ("departmentNumber", DEPARTMENTS[department] if department else 1000),
            ("telephoneNumber", phone.format(100 + n % 100 if region == "americas" else n)),
            ("mobile", phone.format(n % 100 + 100) if n % 11 == 0 else None),
            ("l", city), ("preferredLanguage", "en-" + country), ("manager", manager),
            ("description", f"Joined in {1990 + n % 34}.\nDesk {n}, {city}." if n % 9 == 0 else None),
        ]
        if department in ("engineering", "research"):
            classes += ["posixAccount", "shadowAccount"]
            attributes += [
                ("uidNumber", 20000 + n), ("gidNumber", 30000), ("homeDirectory", f"/home/{n}"),
                ("loginShell", "/bin/sh"), ("shadowMax", 180), ("userPassword", ssha(uid)),
            ]
        entry(dn, classes, attributes + list(extra))
        self.dns.append(dn)
        self.departments.setdefault((region, department), []).append((dn, uid))
        if head:
            self.managers.append(dn)
        return dn


def write_people():
    staff = Staff()
    people = ou("people", SUFFIX, "Everybody, by region and department")
    chief = staff.add(people, "emea", "Chief Executive", None, head=True,
                      extra=[("jpegPhoto", photo()), ("labeledURI", "https://www.example.com/ Home page")])
    units = []
    for region, (city, _, _, departments) in REGIONS.items():
        region_dn = ou(region, people, f"Head office: {city}")
        head = staff.add(region_dn, region, "Managing Director", chief, head=True)
        for department in departments:
            dn = ou(department, region_dn)
            lead = staff.add(dn, region, f"Head of {department.title()}", head, department, head=True)
            units.append((dn, region, department, lead))
    # Accounts whose name has to be escaped in a DN.
    for (dn, region, department, lead), uid in zip(units, ["kim+lab", "#helpdesk"]):
        staff.add(dn, region, "Specialist", lead, department, uid=uid)
    while len(staff.dns) < PEOPLE - len(CONTRACTORS):
        dn, region, department, lead = pick(units)
        staff.add(dn, region, pick(TITLES), lead, department)
    return people, staff


def write_contractors(people, staff):
    """Names that are awkward in a DN."""
    parent = ou("contractors", people, "Outside the regions; the names here are hard to write in a DN")
    dns = []
    for cn, given, family, uid, extra in CONTRACTORS:
        staff.number += 1
        # RFC 4514 multi-valued RDN for one of them.
        first = f"employeeNumber={staff.number}+" if uid == "minji.park" else ""
        dns.append(f"{first}{rdn('cn', cn)},{parent}")
        entry(dns[-1], ["top", "person", "organizationalPerson", "inetOrgPerson"], [
            ("cn", cn), ("sn", family), ("givenName", given), ("uid", uid), ("mail", f"{uid}@example.com"),
            ("employeeNumber", staff.number), ("employeeType", "contractor"), ("departmentNumber", 9000),
            ("manager", staff.managers[0]), *extra,
        ])
    return dns


def write_groups(staff, contractors):
    groups = ou("groups", SUFFIX)

    def group(name, members, description):
        entry(f"cn={name},{groups}", ["top", "groupOfNames"],
              [("cn", name), ("description", description), *(("member", m) for m in members)])

    group("all-staff", staff.dns, "Everybody with a contract of employment")
    group("managers", staff.managers, "Heads of regions and departments,\nand the chief executive")
    group("directors", staff.managers[:1] + [m for m in staff.managers if m.count(",ou=") == 2], None)
    for (region, department), members in staff.departments.items():
        if department:
            group(f"{region}-{department}", [dn for dn, _ in members], f"{department.title()} in {region.upper()}")
    group("on-call", [members[-1][0] for members in staff.departments.values()], "This week")
    group("board", staff.managers[:1], "A group of one")
    entry(f"cn=contractors,{groups}", ["top", "groupOfUniqueNames"],
          [("cn", "contractors"), *(("uniqueMember", dn) for dn in contractors)])
    for gid, (name, key) in enumerate([("developers", ("emea", "engineering")), ("scientists", ("apac", "research"))]):
        entry(f"cn={name},{groups}", ["top", "posixGroup"], [
            ("cn", name), ("gidNumber", 30000 + gid), *(("memberUid", uid) for _, uid in staff.departments[key])])
    entry(f"cn=guests,{groups}", ["top", "posixGroup"],
          [("cn", "guests"), ("gidNumber", 30099), ("description", "Nobody yet")])


def write_devices(staff):
    devices = ou("devices", SUFFIX)
    for n in range(1, 13):
        entry(f"cn=printer-{n:02d},{devices}", ["top", "device", "ipHost", "ieee802Device"], [
            ("cn", f"printer-{n:02d}"), ("serialNumber", f"SN{7919 * n:06d}"), ("l", f"Floor {n % 4 + 1}"),
            ("owner", pick(staff.managers)), ("ipHostNumber", f"192.0.2.{n}"), ("macAddress", f"00:00:5e:00:53:{n:02x}"),
        ])
    # An entry below a person, not below a container.
    owner = staff.dns[-1]
    entry(f"cn=laptop,{owner}", ["top", "device"], [("cn", "laptop"), ("serialNumber", "SN-L-0001"), ("owner", owner)])


def main():
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    # No `version: 1`: slapadd refuses it, and slapcat leaves it out too.
    print("# The demo company. Written by catalogs/demo/generate.py: change that, not this.")
    entry(SUFFIX, ["top", "dcObject", "organization"],
          [("dc", "example"), ("o", "Example Company"), ("description", "Invented for the demo")])
    people, staff = write_people()
    contractors = write_contractors(people, staff)
    write_groups(staff, contractors)
    write_devices(staff)
    service = ou("service", SUFFIX, "Accounts of programs")
    for name in ["backup", "etl", "monitoring"]:
        entry(f"cn={name},{service}", ["top", "organizationalRole", "simpleSecurityObject"],
              [("cn", name), ("userPassword", ssha(name))])
    ou("archive", SUFFIX, "Empty, and to be kept")


main()
