{#- A name up to its first blank. -#}
{% macro first_name(name) -%}
  case when strpos(trim({{ name }}), ' ') > 0
    then substr(trim({{ name }}), 1, strpos(trim({{ name }}), ' ') - 1)
    else trim({{ name }}) end
{%- endmacro %}

{#- What follows the first blank; null for a name of one word. -#}
{% macro last_name(name) -%}
  case when strpos(trim({{ name }}), ' ') > 0
    then ltrim(substr(trim({{ name }}), strpos(trim({{ name }}), ' ') + 1)) end
{%- endmacro %}
