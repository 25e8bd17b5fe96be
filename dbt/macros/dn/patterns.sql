{#
  The regular expressions behind the macros on names (RFC 4514 section 3, and what RFC 2253 section 4 lets pass: `;`, quoted
  values, spaces around separators). None looks ahead or behind, so that RE2 (DuckDB) and PostgreSQL read them alike.
  What follows a backslash is never a separator: that is all the difference from splitting at commas.
-#}

{# An escape: a special character, or two hex digits. #}
{% macro ldap_pattern_escape() -%}
\\(?:[0-9A-Fa-f]{2}|[ "#+,;<=>\\])
{%- endmacro %}

{# A whole name. `#` begins a value in hex, so that a plain one begins with something else. #}
{% macro ldap_pattern_dn() -%}
{%- set escape = ldap.ldap_pattern_escape() -%}
{%- set quoted = '"(?:[^"\\\\]|' ~ escape ~ ')*"' -%}
{%- set plain = '(?:[^\\\\,;+"# ]|' ~ escape ~ ')(?:[^\\\\,;+"]|' ~ escape ~ ')*' -%}
{%- set ava = ' *[A-Za-z0-9._-]+ *= *(?:#(?:[0-9A-Fa-f]{2})+|' ~ quoted ~ '|' ~ plain ~ '|) *' -%}
(?s)^ *(?:{{ ava }}(?:[+,;]{{ ava }})*)?$
{%- endmacro %}

{# One part of a name that the given separators divide. #}
{% macro ldap_pattern_part(separators) -%}
(?s)((?:[^\\"{{ separators }}]|\\.|"(?:[^"\\]|\\.)*")+)
{%- endmacro %}

{# What is left without the spaces around: a space behind a backslash stays. #}
{% macro ldap_pattern_trimmed(before='') -%}
(?s)^ *{{ before }}((?:[^\\ ]|\\.| +(?:[^ \\]|\\.))*) *$
{%- endmacro %}

{# The pieces of a value: octets in hex, escaped characters, and what stands for itself. #}
{% macro ldap_pattern_piece() -%}
(?s)((?:\\[0-9A-Fa-f]{2})+|\\.|[^\\]+)
{%- endmacro %}

{# Octets in hex that are UTF-8 (RFC 3629 section 4), but for NUL, which no text of PostgreSQL can have. #}
{% macro ldap_pattern_utf8() -%}
{%- set t = '[89aAbB][0-9a-fA-F]' -%}
^(?:0[1-9a-fA-F]|[1-7][0-9a-fA-F]|[cC][2-9a-fA-F]{{ t }}|[dD][0-9a-fA-F]{{ t }}|[eE]0[aAbB][0-9a-fA-F]{{ t }}|
{{- '' }}[eE][1-9a-cA-CeEfF]{{ t }}{{ t }}|[eE][dD][89][0-9a-fA-F]{{ t }}|[fF]0[9aAbB][0-9a-fA-F]{{ t }}{{ t }}|
{{- '' }}[fF][1-3]{{ t }}{{ t }}{{ t }}|[fF]4[8][0-9a-fA-F]{{ t }}{{ t }})*$
{%- endmacro %}

{# An attribute type in lower case by its short name, for those that have several (the table of RFC 4514 section 3, and sn). #}
{% macro ldap_short_type(type) -%}
{%- set names = {
  'cn': ['commonname', '2.5.4.3'],
  'sn': ['surname', '2.5.4.4'],
  'l': ['localityname', '2.5.4.7'],
  'st': ['stateorprovincename', '2.5.4.8'],
  'o': ['organizationname', '2.5.4.10'],
  'ou': ['organizationalunitname', '2.5.4.11'],
  'c': ['countryname', '2.5.4.6'],
  'street': ['streetaddress', '2.5.4.9'],
  'dc': ['domaincomponent', '0.9.2342.19200300.100.1.25'],
  'uid': ['userid', '0.9.2342.19200300.100.1.1'],
} -%}
case {{ type }}
{%- for short, others in names.items() %}{% for other in others %} when '{{ other }}' then '{{ short }}'{% endfor %}{% endfor %} else {{ type }} end
{%- endmacro %}

{# A value as names are compared by it: without case, spaces squeezed (caseIgnoreMatch), and what could be taken for a
   separator escaped. #}
{% macro ldap_ava_key(value) -%}
regexp_replace(trim(regexp_replace(lower({{ value }}), ' +', ' ', 'g')), '([,+"\\<>;=#])', '\\\1', 'g')
{%- endmacro %}
