{#- Groups that are there, each with its members' names as a list. -#}
{%- set source_groups = source('ldap', 'groups') -%}
select
  {{ ldap.ldap_dn_key('dn') }} as dn_key,
  dn,
  {{ ldap.ldap_text(source_groups, 'entryUUID') }} as entry_uuid,
  {{ ldap.ldap_text(source_groups, 'cn') }} as name,
  {{ ldap.ldap_text(source_groups, 'description') }} as description,
  {{ ldap.ldap_concat(ldap.ldap_texts(source_groups, 'member'), ldap.ldap_texts(source_groups, 'uniqueMember')) }} as members,
  {{ ldap.ldap_column(source_groups, '_sdc_extracted_at', 'timestamp') }} as extracted_at
from {{ source_groups }}
where {{ ldap.ldap_is_there(source_groups) }}
