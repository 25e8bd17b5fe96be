"""How many requests a SCIM write costs the directory: what was written is looked at once."""

from writing import USER, new, ok, patch, scim, user

# The most requests, after the first write of the process. A read of the root DSE every few seconds is not of the write.
MOST = {"title": 14, "active": 14, "new": 17}


def test_a_write_is_looked_at_once(openldap, writing, relay):
    service = writing(openldap, server_url=relay.url)
    new(service, "vera")
    path = f"/Users/{user(service, 'vera')}"

    def replace(attribute, value):
        return patch(service, path, {"op": "replace", "path": attribute, "value": value})

    def made(number):
        body = {"schemas": [USER], "userName": f"zoe{number}", "name": {"familyName": "z"}}
        return ok(scim(service, "POST", "/Users", body), 201)

    def least(work):
        counts = []
        for number in range(3):
            relay.forget()
            work(number)
            counts.append(len(relay.requests))
        return min(counts)

    replace("title", "first")
    counted = {
        "title": least(lambda number: replace("title", f"t{number}")),
        "active": least(lambda number: replace("active", number % 2 == 1)),
        "new": least(made),
    }
    assert all(counted[name] <= most for name, most in MOST.items()), counted
