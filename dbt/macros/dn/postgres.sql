{# PostgreSQL. regexp_matches gives a row for each match; `n` keeps them in order. #}

{% macro postgres__ldap_dn_rdns(dn) -%}
(case when ({{ dn }}) ~ '{{ ldap.ldap_pattern_dn() }}' then
  array(select (regexp_match(rdns.m[1], '{{ ldap.ldap_pattern_trimmed() }}'))[1]
    from regexp_matches({{ dn }}, '{{ ldap.ldap_pattern_part(",;") }}', 'g') with ordinality as rdns(m, n)
    where rdns.m[1] like '%=%' order by rdns.n)
end)
{%- endmacro %}

{% macro postgres__ldap_dn_values(dn, attribute) -%}
(case when ({{ dn }}) ~ '{{ ldap.ldap_pattern_dn() }}' then
  array(select {{ ldap.postgres__ldap_ava_value('avas.m[1]') }}
    from regexp_matches({{ dn }}, '{{ ldap.ldap_pattern_part("+,;") }}', 'g') with ordinality as avas(m, n)
    where avas.m[1] like '%=%' and {{ ldap.postgres__ldap_ava_type('avas.m[1]') }} = '{{ attribute | lower }}'
    order by avas.n)
end)
{%- endmacro %}

{% macro postgres__ldap_dn_key(dn) -%}
array_to_string(array(
  select (select string_agg(avas.ava, '+' order by avas.ava collate "C") from (
      select {{ ldap.postgres__ldap_ava_type('m[1]') }} || '=' || {{ ldap.ldap_ava_key(ldap.postgres__ldap_ava_value('m[1]')) }} as ava
      from regexp_matches(rdns.rdn, '{{ ldap.ldap_pattern_part("+") }}', 'g') as matches(m)) as avas)
  from unnest({{ ldap.postgres__ldap_dn_rdns(dn) }}) with ordinality as rdns(rdn, n)
  order by rdns.n), case when ({{ dn }}) ~ '{{ ldap.ldap_pattern_dn() }}' then ',' end)
{%- endmacro %}

{% macro postgres__ldap_parent_dn(dn) -%}
(select case when cardinality(rdns.rdns) > 0 then array_to_string(rdns.rdns[2:], ',') end
  from (select {{ ldap.postgres__ldap_dn_rdns(dn) }} as rdns) as rdns)
{%- endmacro %}

{% macro postgres__ldap_ava_type(ava) -%}
{%- set type = "lower(regexp_replace((regexp_match(" ~ ava ~ ", '^ *([A-Za-z0-9._-]+)'))[1], '^[oO][iI][dD]\\.([0-9])', '\\1'))" -%}
{{ ldap.ldap_short_type(type) }}
{%- endmacro %}

{% macro postgres__ldap_ava_value(ava) -%}
(select case
    when v ~ '^#(?:04|0[cC]|13|16)[0-7]' and substr(v, 6) ~ '{{ ldap.ldap_pattern_utf8() }}'
      then {{ ldap.postgres__ldap_utf8("substr(v, 6)") }}
    when v like '#%' then v
    else coalesce((select string_agg(case
        when pieces.m[1] !~ '^\\' then pieces.m[1]
        when pieces.m[1] !~ '^\\[0-9A-Fa-f]' then substr(pieces.m[1], 2)
        when replace(pieces.m[1], '\', '') ~ '{{ ldap.ldap_pattern_utf8() }}'
          then {{ ldap.postgres__ldap_utf8("replace(pieces.m[1], '\\', '')") }}
        else pieces.m[1]
      end, '' order by pieces.n)
      from regexp_matches(case when v like '"%' then substr(v, 2, length(v) - 2) else v end,
        '{{ ldap.ldap_pattern_piece() }}', 'g') with ordinality as pieces(m, n)), '')
  end
  from (select (regexp_match({{ ava }}, '{{ ldap.ldap_pattern_trimmed("[^=]*= *") }}'))[1] as v) as value)
{%- endmacro %}

{# `offset 0` keeps the planner from computing each key as often as it is named. #}
{% macro postgres__is_descendant_of(dn, ancestor, or_self) -%}
(select {{ ldap.ldap_key_is_below('k.below', 'k.above', or_self) }}
  from (select {{ ldap.postgres__ldap_dn_key(dn) }} as below, {{ ldap.postgres__ldap_dn_key(ancestor) }} as above offset 0) as k)
{%- endmacro %}

{# `UTF8` is a name, names have the collation "C", and so would the result. #}
{% macro postgres__ldap_utf8(hex) -%}
(convert_from(decode({{ hex }}, 'hex'), 'UTF8') collate "default")
{%- endmacro %}
