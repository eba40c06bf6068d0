-- A page's and a team's total is its online and its offline money: one row for each that is not.
select 'page' as entity, uuid from {{ source('app', 'page') }} where total <> online_total + offline_total
union all
select 'team', uuid from {{ source('app', 'team') }} where total <> online_total + offline_total
