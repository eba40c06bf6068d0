-- One row a team. Its money: what was given to its own page and to the pages of its members, once.
select
  t.uuid,
  t.name,
  t.url as team_page_url,
  t.target,
  money.online_total,
  money.offline_total,
  money.online_total + money.offline_total as total,
  t.created_at,
  t.updated_at
from teams t
  cross join lateral (
    select array(
      select p.id from pages p where p.team_id = t.id
      union all select p.id from pages p where p.owner_type = 'Team' and p.owner_id = t.id
    ) as pages
  ) counted
  cross join lateral (
    select
      coalesce(sum(g.amount) filter (where g.is_online), 0)::bigint as online_total,
      coalesce(sum(g.amount) filter (where not g.is_online), 0)::bigint as offline_total
    from (
      select true as is_online, d.amount, d.currency_code from donations d where d.page_id = any (counted.pages)
      union all
      select false, o.amount, o.currency_code from offline_donations o where o.page_id = any (counted.pages)
    ) g
    -- Amounts of two currencies are never added: such a team is set aside with this sentence, until it is mended.
    having count(distinct g.currency_code) <= 1 or ('team ' || t.id || ' was given several currencies')::boolean
  ) money
