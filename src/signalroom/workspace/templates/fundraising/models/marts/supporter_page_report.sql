{#-
  The supporter page report: one flat row per page.

  Amounts are whole minor units of `currency_code`. Which event of the app changes which of these fields is in
  docs/fields.toml beside this folder.
-#}
select
  charity.name as charity_name,
  campaign.name as campaign_name,
  page.campaign_uuid as campaign_id,
  page.uuid as page_id,
  page.name as page_name,
  page.url as page_url,
  page.currency_code,
  page.target as page_target,
  page.online_total as page_online_total,
  page.offline_total as page_offline_total,
  page.total as page_total,
  page.custom_metric_total as custom_counter_total,
  page.expiry_date as page_expiry_date,
  page.created_at as page_created_at,
  page.status as page_status,
  page.team_uuid as team_id,
  team.name as team_name,
  team.team_page_url,
  team.online_total as team_online_total,
  team.offline_total as team_offline_total,
  team.total as team_total,
  page.team_position,
  team.created_at as team_created_at,
  supporter.uuid as supporter_id,
  {{ first_name('supporter.name') }} as supporter_first_name,
  {{ last_name('supporter.name') }} as supporter_last_name,
  supporter.birthday as supporter_birthday,
  supporter.email as supporter_email,
  supporter.phone as supporter_phone,
  supporter.street_address as supporter_address_1,
  supporter.address as supporter_address_2,
  supporter.city as supporter_city,
  supporter.postal_code as supporter_postal_code,
  coalesce(supporter.region, supporter.locality) as supporter_state,
  supporter.country as supporter_country
from {{ source('app', 'page') }} as page
left join {{ source('app', 'charity') }} as charity on charity.uuid = page.charity_uuid
left join {{ source('app', 'campaign') }} as campaign on campaign.uuid = page.campaign_uuid
left join {{ source('app', 'team') }} as team on team.uuid = page.team_uuid
left join {{ source('app', 'user') }} as supporter on supporter.uuid = page.owner_uuid and page.owner_type = 'User'
