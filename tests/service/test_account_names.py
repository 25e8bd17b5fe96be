"""Active Directory: the account name of a group, which the rule makes of its name, follows a new name, and a taken one is named."""

import pytest
from writing import GROUP, group, new, ok, patch, scim, user


@pytest.fixture
def domain(samba, writing):
    suffix = samba.suffix
    for unit in ("people", "groups", "elsewhere"):
        samba.modify(f"dn: OU={unit},{suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")

    def start(**more):
        users = {"base_dn": f"OU=people,{suffix}", "filter": "(objectClass=user)", **more.pop("users", {})}
        return writing(
            samba, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
            users=users, groups={"base_dn": f"OU=groups,{suffix}", "filter": "(objectClass=group)"}, roles=None, **more,
        )

    return samba, start


def make(service, name, status=201):
    return ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": name}), status)


def rename(service, path, name, status=200, attribute="displayName"):
    return patch(service, path, {"op": "replace", "path": attribute, "value": name}, status=status)


def account_name(samba, dn):
    return samba.values(f"{dn},{samba.suffix}", "sAMAccountName")["sAMAccountName"][0].decode()


def test_the_account_name_of_a_group_follows_its_name(domain):
    samba, start = domain
    service = start()
    path = f"/Groups/{make(service, 'admins').json()['id']}"
    rename(service, path, "admins-new")
    assert account_name(samba, "CN=admins-new,OU=groups") == "admins-new"
    # The old name is free, by PUT as well.
    second = f"/Groups/{make(service, 'admins').json()['id']}"
    ok(scim(service, "PUT", second, {**ok(scim(service, "GET", second)).json(), "displayName": "Ops Team"}))
    assert account_name(samba, "CN=Ops Team,OU=groups") == "Ops Team"
    make(service, "admins")
    # One that was given by others stays.
    samba.modify(f"dn: CN=Ops Team,OU=groups,{samba.suffix}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: ops\n")
    rename(service, second, "Operations")
    assert account_name(samba, "CN=Operations,OU=groups") == "ops"


def test_a_taken_account_name_is_named(domain):
    samba, start = domain
    service = start()
    holder = f"CN=Somebody Else,OU=elsewhere,{samba.suffix}"
    samba.modify(f"dn: {holder}\nchangetype: add\nobjectClass: group\nsAMAccountName: admins\n")
    path = f"/Groups/{make(service, 'ops').json()['id']}"
    new(service, "ada")
    for answer in (make(service, "admins", 409), rename(service, path, "admins", 409), new(service, "admins", 409),
                   rename(service, f"/Users/{user(service, 'ada')}", "admins", 409, "userName")):
        body = answer.json()
        assert body["scimType"] == "uniqueness" and holder.lower() in body["detail"].lower() and "run again" not in body["detail"], body
    # Nothing was changed by half.
    assert account_name(samba, "CN=ops,OU=groups") == "ops" and group(service, "ops")


def test_the_account_name_of_users_that_are_named_by_another_attribute(domain):
    samba, start = domain
    service = start(users={"login_attributes": ["cn"], "scim": {"userName": "cn", "name.formatted": "none"}})
    ada = new(service, "ada").json()["id"]
    assert account_name(samba, "CN=ada,OU=people") == "ada"
    rename(service, f"/Users/{ada}", "countess", attribute="userName")
    assert account_name(samba, "CN=countess,OU=people") == "countess"
    assert new(service, "ada").json()["id"] != ada
