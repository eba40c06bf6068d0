{#-
  Postgres drops a table with everything that reads it. What agencies' views read it by steps aside first, so that the
  views stay, with their rows and with whoever may read them, until `signalroom refresh` builds them anew.
-#}
{% macro postgres__drop_relation(relation) -%}
  {% call statement('drop_relation', auto_begin=False) -%}
    do $$ begin
      if to_regprocedure('signalroom.let_go(regclass)') is not null then
        perform signalroom.let_go(to_regclass('{{ relation.include(database=false) | string | replace("'", "''") }}'));
      end if;
    end $$;
    {{ get_drop_sql(relation) }}
  {%- endcall %}
{%- endmacro %}
