"""Writers of a fundraising app for the soak: every table, every way a row comes, changes, moves, goes and comes back."""

import random

import psycopg

CHARITIES, CAMPAIGNS, USERS, TEAMS, PAGES = 4, 8, 20, 6, 40
AT = "now(), now()"
GIFT = "insert into {} (page_id, amount, currency_code, created_at) select id, {{amount}}, 'GBP', now() from pages"
GIFT += " where id = {{page}}"
TAKE = "(select min(id) + {{some}} from {0})"
MOVE = "update {0} set page_id = {{page}}, amount = amount + 1 where id = " + TAKE
MOVE += " and exists (select from pages where id = {{page}})"
PAGE = """insert into pages (id, uuid, campaign_id, owner_type, owner_id, team_id, name, slug, url, target, country_code,
    currency_code, expiry_date, status, created_at, updated_at) overriding system value
    select {0}, md5('page {0}')::uuid, c.id, '{1}', {2}, {3}, '{{word}}', 'page-' || {0}, 'https://give.example/' || {0},
    500, 'GB', 'GBP', date '2027-01-01', 'active', now(), now() from campaigns c where c.id = {{campaign}}
    on conflict do nothing"""
TEAM = (
    "insert into teams (id, uuid, name, url, target, created_at, updated_at) overriding system value values"
    f" ({{team}}, md5('team {{team}}')::uuid, '{{word}}', 'https://give.example/t', 900, {AT}) on conflict do nothing"
)
ACTS = {
    # money comes, moves to another page, goes
    (GIFT.format("donations"),): 30,
    (GIFT.format("offline_donations"),): 8,
    (MOVE.format("donations"),): 8,
    (MOVE.format("offline_donations"),): 3,
    ("delete from donations where id = " + TAKE.format("donations"),): 4,
    ("insert into custom_counters (page_id, counted, created_at) select id, 3, now() from pages where id = {page}",): 3,
    ("truncate custom_counters",): 0.3,
    # pages change, change hands and teams, go, and come back
    ("update pages set name = '{word}', status = 'paused', updated_at = now() where id = {page}",): 8,
    (
        ("update pages set owner_id = {user}, team_id = (select id from teams where id = {team}),"
        " campaign_id = coalesce((select id from campaigns where id = {campaign}), campaign_id)"
        " where id = {page} and owner_type = 'User'"),
    ): 8,
    ("delete from pages where id = {page}",): 5,
    (PAGE.format("{page}", "User", "{user}", "(select id from teams where id = {team})"),): 10,
    # those they point to
    ("update users set name = '{word}', region = null, phone = '' where id = {user}",): 5,
    ("delete from users where id = {user}",): 3,
    (
        ("insert into users (id, uuid, name, email, created_at, updated_at) overriding system value values"
        f" ({{user}}, gen_random_uuid(), '{{word}}', 'u@example.org', {AT}) on conflict do nothing"),
    ): 5,
    ("update teams set name = '{word}', target = target + 1 where id = {team}",): 4,
    (
        "update pages set team_id = null, team_position = null where team_id = {team}",
        "delete from pages where owner_type = 'Team' and owner_id = {team}",
        "delete from teams where id = {team}",
    ): 2,
    (TEAM, PAGE.format("1000 + {team}", "Team", "{team}", "null::bigint")): 4,
    ("update charities set name = '{word}' where id = {charity}",): 3,
    (
        "delete from charities c where id = {charity} and not exists (select from campaigns where charity_id = c.id)",
    ): 4,
    (
        ("insert into charities (id, uuid, name, country_code, created_at, updated_at) overriding system value values"
        f" ({{charity}}, md5('charity {{charity}}')::uuid, '{{word}}', 'GB', {AT}) on conflict do nothing"),
    ): 5,
    ("update campaigns set name = '{word}' where id = {campaign}",): 3,
    (
        "update campaigns set charity_id = h.id from charities h where h.id = {charity} and campaigns.id = {campaign}",
    ): 4,
    ("delete from pages where campaign_id = {campaign}", "delete from campaigns where id = {campaign}"): 1,
    (
        ("insert into campaigns (id, uuid, charity_id, name, created_at, updated_at) overriding system value"
        f" select {{campaign}}, md5('campaign {{campaign}}')::uuid, h.id, '{{word}}', {AT} from charities h"
        " where h.id = {charity} on conflict do nothing"),
    ): 5,
}  # fmt: skip
REFUSED = (psycopg.errors.DeadlockDetected, psycopg.errors.ForeignKeyViolation, psycopg.errors.UniqueViolation)


def act(chance):
    """Return the statements of one thing that the app does."""
    (statements,) = chance.choices(list(ACTS), list(ACTS.values()))
    drawn = {
        "charity": chance.randint(1, CHARITIES), "campaign": chance.randint(1, CAMPAIGNS),
        "user": chance.randint(1, USERS), "team": chance.randint(1, TEAMS), "page": chance.randint(1, PAGES),
        "amount": chance.randint(1, 900), "some": chance.randint(0, 40), "word": f"Name {chance.random():.5f}",
    }  # fmt: skip
    return [statement.format(**drawn) for statement in statements]


def write(session, chance):
    """Do one to three things in one transaction; return whether it was committed."""
    try:
        for _ in range(chance.randint(1, 3)):
            for statement in act(chance):
                session.execute(statement)
    except REFUSED:
        session.rollback()
        return False
    if chance.random() < 0.1:
        session.rollback()
        return False
    session.commit()
    return True


def write_some(url, transactions, seed):
    """Do so many things; return how many transactions were committed."""
    chance = random.Random(seed)
    with psycopg.connect(url) as session:
        return sum(write(session, chance) for _ in range(transactions))
