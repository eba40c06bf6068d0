{#- A label without its outer blanks; null when nothing is left. -#}
{% macro trimmed(expression) -%}
  nullif(regexp_replace({{ expression }}, '^\s+|\s+$', '', 'g'), '')
{%- endmacro %}

{#- A project's name as `vars.projects` spells it; a name that is not listed stays as it is, trimmed. -#}
{% macro project_named(expression) -%}
  case upper(trim({{ expression }}))
    {%- for project in var('projects') %}
    when '{{ project.name | upper }}' then '{{ project.name }}'
    {%- endfor %}
    else nullif(trim({{ expression }}), '')
  end
{%- endmacro %}

{#- The project an Everflow row belongs to. -#}
{% macro project_of(advertiser_id, advertiser_label) -%}
  case {{ advertiser_id }}
    {%- for project in var('projects') %}
    when {{ project.advertiser_id }} then '{{ project.name }}'
    {%- endfor %}
    else coalesce({{ project_named(advertiser_label) }}, 'Advertiser ' || {{ advertiser_id }})
  end
{%- endmacro %}

{#-
  Cost per conversion, half up to the cent; null when there is no conversion.

  Counted in whole half cents: a division of decimals is a float on DuckDB, and 1.15 / 2 would round down there
  and up on Postgres. The dividend of `/` is a multiple of its divisor, so that both engines divide exactly.
-#}
{% macro cost_per(cost, conversions) -%}
  {%- set half_cents = '(cast(' ~ cost ~ ' * 200 as bigint) + ' ~ conversions ~ ')' -%}
  case when {{ conversions }} > 0 then
    cast(({{ half_cents }} - mod({{ half_cents }}, 2 * {{ conversions }})) / (2 * {{ conversions }}) * 0.01
      as decimal(18, 2))
  end
{%- endmacro %}

{#- Pick the first row of each `key` in the given order: `row_number() = 1`, which both engines can filter on. -#}
{% macro place_in(key, order) -%}
  row_number() over (partition by {{ key }} order by {{ order }})
{%- endmacro %}
