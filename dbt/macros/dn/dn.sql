{# Macros on distinguished names. `dn` is an SQL expression of type text; what is no name (RFC 4514) gives null. #}

{# The values of one attribute type in a name, decoded, most specific first: a list of texts, empty where there is none. #}
{% macro ldap_dn_values(dn, attribute) -%}
{{ return(adapter.dispatch('ldap_dn_values', 'ldap')(dn, attribute)) }}
{%- endmacro %}

{# The relative names of a name as they are spelt, most specific first: a list of texts. #}
{% macro ldap_dn_rdns(dn) -%}
{{ return(adapter.dispatch('ldap_dn_rdns', 'ldap')(dn)) }}
{%- endmacro %}

{#
  One text for all spellings of a name: to join by, to group by. Case, escapes, spaces, the order within a multi-valued relative
  name, and the numbers and long names of attribute types make no difference. To compare, not to send.
#}
{% macro ldap_dn_key(dn) -%}
{{ return(adapter.dispatch('ldap_dn_key', 'ldap')(dn)) }}
{%- endmacro %}

{# The name above, as it is spelt; '' above a name of one part, null above that. #}
{% macro ldap_parent_dn(dn) -%}
{{ return(adapter.dispatch('ldap_parent_dn', 'ldap')(dn)) }}
{%- endmacro %}

{# Whether `dn` lies below `ancestor`, at any depth; with or_self, or is it. Everything but '' lies below ''. #}
{% macro is_descendant_of(dn, ancestor, or_self=false) -%}
{{ return(adapter.dispatch('is_descendant_of', 'ldap')(dn, ancestor, or_self)) }}
{%- endmacro %}

{#
  Three columns for a select list: `cn` and `ou` are the most specific value of each, `dc` is the domain (`example.com`). Null where
  the name has none. Other attributes, and all values: ldap_dn_values.
#}
{% macro parse_ldap_dn(dn_column, prefix='') -%}
({{ ldap.ldap_dn_values(dn_column, 'cn') }})[1] as {{ prefix }}cn,
({{ ldap.ldap_dn_values(dn_column, 'ou') }})[1] as {{ prefix }}ou,
nullif(array_to_string({{ ldap.ldap_dn_values(dn_column, 'dc') }}, '.'), '') as {{ prefix }}dc
{%- endmacro %}

{# Of two keys: in a key every separator within a value is escaped, so that the end of the text says it. #}
{% macro ldap_key_is_below(below, above, or_self) -%}
case
  when {{ above }} = '' then {{ below ~ ' is not null' if or_self else below ~ " <> ''" }}
  else right({{ below }}, length({{ above }}) + 1) = ',' || {{ above }}{{ ' or ' ~ below ~ ' = ' ~ above if or_self else '' }}
end
{%- endmacro %}
