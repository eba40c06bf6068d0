{#- A warning: both rows are copied within a second, not in one moment, so a build may see one of them first. -#}
{{ config(severity='warn') }}
-- A team's own page and the team count the same gifts: one row for each team whose two totals differ.
select team.uuid, team.total as team_total, page.total as page_total
from {{ source('app', 'team') }} as team
join {{ source('app', 'page') }} as page on page.team_uuid = team.uuid and page.owner_type = 'Team'
where page.total <> team.total
