{# DuckDB. `[f(x) for x in [y]][1]` gives y a name, so that it is not computed twice. #}

{% macro duckdb__ldap_dn_rdns(dn) -%}
case when regexp_matches({{ dn }}, '{{ ldap.ldap_pattern_dn() }}') then
  [regexp_extract(rdn, '{{ ldap.ldap_pattern_trimmed() }}', 1)
   for rdn in regexp_extract_all({{ dn }}, '{{ ldap.ldap_pattern_part(",;") }}', 1) if contains(rdn, '=')]
end
{%- endmacro %}

{% macro duckdb__ldap_dn_values(dn, attribute) -%}
case when regexp_matches({{ dn }}, '{{ ldap.ldap_pattern_dn() }}') then
  [{{ ldap.duckdb__ldap_ava_value('ava') }}
   for ava in regexp_extract_all({{ dn }}, '{{ ldap.ldap_pattern_part("+,;") }}', 1)
   if {{ ldap.duckdb__ldap_ava_type('ava') }} = '{{ attribute | lower }}']
end
{%- endmacro %}

{% macro duckdb__ldap_dn_key(dn) -%}
{%- set rdns -%}
  [array_to_string(list_sort(
     [{{ ldap.duckdb__ldap_ava_type('ava') }} || '=' || {{ ldap.ldap_ava_key(ldap.duckdb__ldap_ava_value('ava')) }}
      for ava in regexp_extract_all(rdn, '{{ ldap.ldap_pattern_part("+") }}', 1)]), '+')
   for rdn in {{ ldap.duckdb__ldap_dn_rdns(dn) }}]
{%- endset -%}
{{ ldap.duckdb__ldap_joined(rdns) }}
{%- endmacro %}

{% macro duckdb__ldap_parent_dn(dn) -%}
[case when len(rdns) > 0 then coalesce(array_to_string(rdns[2:], ','), '') end for rdns in [{{ ldap.duckdb__ldap_dn_rdns(dn) }}]][1]
{%- endmacro %}

{% macro duckdb__ldap_ava_type(ava) -%}
{%- set type = "lower(regexp_replace(regexp_extract(" ~ ava ~ ", '^ *([A-Za-z0-9._-]+)', 1), '^[oO][iI][dD]\\.([0-9])', '\\1'))" -%}
{{ ldap.ldap_short_type(type) }}
{%- endmacro %}

{% macro duckdb__ldap_ava_value(ava) -%}
[case
   when regexp_matches(v, '^#(?:04|0[cC]|13|16)[0-7]') and regexp_matches(substr(v, 6), '{{ ldap.ldap_pattern_utf8() }}')
     then decode(unhex(substr(v, 6)))
   when starts_with(v, '#') then v
   else coalesce(array_to_string(
     [case
        when not starts_with(piece, '\') then piece
        when not regexp_matches(piece, '^\\[0-9A-Fa-f]') then substr(piece, 2)
        when regexp_matches(replace(piece, '\', ''), '{{ ldap.ldap_pattern_utf8() }}') then decode(unhex(replace(piece, '\', '')))
        else piece
      end
      for piece in regexp_extract_all(
        case when starts_with(v, '"') then v[2:-2] else v end, '{{ ldap.ldap_pattern_piece() }}', 1)], ''), '')
 end
 for v in [regexp_extract({{ ava }}, '{{ ldap.ldap_pattern_trimmed("[^=]*= *") }}', 1)]][1]
{%- endmacro %}

{% macro duckdb__is_descendant_of(dn, ancestor, or_self) -%}
[{{ ldap.ldap_key_is_below('k[1]', 'k[2]', or_self) }}
 for k in [[{{ ldap.duckdb__ldap_dn_key(dn) }}, {{ ldap.duckdb__ldap_dn_key(ancestor) }}]]][1]
{%- endmacro %}

{# A list of texts with commas between. DuckDB 1 makes null of an empty list, DuckDB 2 an empty text; here it is the latter. #}
{% macro duckdb__ldap_joined(list) -%}
[case when len(l) = 0 then '' else array_to_string(l, ',') end for l in [{{ list }}]][1]
{%- endmacro %}
