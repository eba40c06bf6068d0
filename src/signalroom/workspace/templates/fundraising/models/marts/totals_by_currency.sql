{#-
  What was raised, each gift once: a team's page counts what its members' pages raise, so a member's page is left out.
  Amounts of two currencies are never added: one row a campaign and currency.
-#}
select
  page.campaign_uuid as campaign_id,
  campaign.name as campaign_name,
  page.currency_code,
  count(*) as pages_counted,
  cast(sum(page.online_total) as bigint) as online_total,
  cast(sum(page.offline_total) as bigint) as offline_total,
  cast(sum(page.total) as bigint) as total
from {{ source('app', 'page') }} as page
left join {{ source('app', 'campaign') }} as campaign on campaign.uuid = page.campaign_uuid
where page.owner_type = 'Team' or page.team_uuid is null
group by page.campaign_uuid, campaign.name, page.currency_code
