"""Users and their keys: the fields of the Event Flows page, keys that are shown once."""

from uuid import UUID

from tests.unit.gateway.stage import PUBLIC_URL, Owner, Stage


async def test_a_user_has_exactly_the_fields_of_the_page(stage: Stage) -> None:
    name = stage.name()
    body = {
        "username": name,
        "email": f"{name}@example.com",
        "fullname": "Demo Account",
        "company_name": "Example",
        "company_role": "engineer",
        "passwordHash": "not used",
        "shouldCreateHello": False,
    }
    created = await stage.admin("POST", "/v1/users", body)
    shown = await stage.admin("GET", f"/v1/users/{name}")
    assert shown == created
    assert list(shown) == [
        "id",
        "username",
        "email",
        "fullname",
        "company_role",
        "self_link",
        "resource_type",
    ]
    assert shown == {
        "id": str(UUID(shown["id"])),
        "username": name,
        "email": f"{name}@example.com",
        "fullname": "Demo Account",
        "company_role": "engineer",
        "self_link": f"{PUBLIC_URL}/v1/users/{name}",
        "resource_type": "user",
    }


async def test_a_user_is_found_by_id_too(stage: Stage, owner: Owner) -> None:
    by_name = await stage.admin("GET", f"/v1/users/{owner.name}")
    assert await stage.admin("GET", f"/v1/users/{owner.id}") == by_name
    assert await stage.admin("GET", f"/v1/users/{owner.id.upper()}") == by_name


async def test_a_taken_username_and_a_taken_email_have_codes_of_their_own(
    stage: Stage, owner: Owner
) -> None:
    taken = {"username": owner.name, "email": "another@example.com"}
    answer = await stage.client.call("POST", "/v1/users", taken, key=stage.admin_key)
    assert (answer.status, answer.error["code"]) == (409, 3003)
    taken = {"username": stage.name(), "email": f"{owner.name}@x.io"}
    answer = await stage.client.call("POST", "/v1/users", taken, key=stage.admin_key)
    assert (answer.status, answer.error["code"]) == (409, 3004)


async def test_users_come_in_pages_by_name(stage: Stage) -> None:
    names = {(await stage.owner()).name for _ in range(5)}
    seen: list[str] = []
    link = "/v1/users?limit=2"
    while link:
        page = await stage.admin("GET", link)
        assert len(page["results"]) <= 2
        assert (page["marker"] is None) == (page["next_link"] is None)
        seen += [user["username"] for user in page["results"]]
        link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
    assert names <= set(seen)
    assert seen == sorted(seen, key=str.lower)
    assert len(seen) == len(set(seen))


async def test_a_key_is_shown_once_and_then_only_its_mask(stage: Stage, owner: Owner) -> None:
    path = f"/v1/admin/users/{owner.name}/keys"
    answer = await stage.client.call(
        "POST", path, {"key_type": "AlgorithmKey", "key_label": "second"}, key=stage.admin_key
    )
    made = answer.json
    assert answer.headers["cache-control"] == "no-store"
    assert made["api_key"].startswith("sim")
    assert len(made["api_key"]) == 28
    assert made["key_type"] == "AlgorithmKey"
    listed = await stage.admin("GET", path)
    assert [key["key_label"] for key in listed] == ["default-key", "second"]
    assert all("api_key" not in key for key in listed)
    assert made["api_key"] not in str(listed)
    assert listed[1]["api_key_mask"] == made["api_key_mask"]
    assert listed[1]["created_at"].endswith("Z")


async def test_a_repeated_key_request_makes_one_key_and_shows_it_once(
    stage: Stage, owner: Owner
) -> None:
    path = f"/v1/users/{owner.name}/keys"
    body = {"key_type": "AlgorithmKey", "key_label": "twice"}
    first, second = [
        await stage.client.call(
            "POST", path, body, key=stage.admin_key, headers={"Idempotency-Key": "one wish"}
        )
        for _ in range(2)
    ]
    assert first.status == second.status == 200
    assert "api_key" not in second.json
    assert second.json["id"] == first.json["id"]
    labels = [key["key_label"] for key in await stage.admin("GET", path)]
    assert labels.count("twice") == 1


async def test_a_revoked_key_is_unknown_at_once(stage: Stage, owner: Owner) -> None:
    path = f"/v1/users/{owner.name}/keys"
    (key,) = await stage.admin("GET", path)
    listeners = f"/v1/users/{owner.id}/event-listeners"
    assert await stage.by(owner, "GET", listeners) == []
    await stage.admin("DELETE", f"{path}/{key['id']}", status=204)
    answer = await stage.client.call("GET", listeners, key=owner.key)
    assert (answer.status, answer.error["code"]) == (401, 2002)
    assert await stage.admin("GET", path) == []


async def test_the_same_idempotency_key_makes_one_user(stage: Stage) -> None:
    name = stage.name()
    body = {"username": name, "email": f"{name}@example.com"}
    headers = {"Idempotency-Key": name}
    answers = [
        await stage.client.call("POST", "/v1/users", body, key=stage.admin_key, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


async def test_an_admin_key_can_be_given_to_another_account(stage: Stage, owner: Owner) -> None:
    body = {"key_type": "ManagementKey"}
    made = await stage.admin("POST", f"/v1/users/{owner.name}/keys", body)
    assert made["key_type"] == "PlatformAdminKey"
    answer = await stage.client.call("GET", "/v1/users", key=made["api_key"])
    assert answer.status == 200
