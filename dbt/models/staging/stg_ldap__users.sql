{#- People who are there, under names of our own: texts trimmed, mail in lower case, the department a number. Everybody is here, also who lacks
a name; ldap_users leaves them out. -#}
{%- set source_users = source('ldap', 'users') -%}
select
  {{ ldap.ldap_dn_key('dn') }} as dn_key,
  dn,
  {{ ldap.ldap_text(source_users, 'entryUUID') }} as entry_uuid,
  {{ ldap.ldap_text(source_users, 'uid') }} as uid,
  {{ ldap.ldap_text(source_users, 'cn') }} as full_name,
  {{ ldap.ldap_text(source_users, 'sn') }} as last_name,
  lower({{ ldap.ldap_text(source_users, 'mail') }}) as email,
  {{ ldap.ldap_integer(ldap.ldap_text(source_users, 'departmentNumber')) }} as department_id,
  {{ ldap.ldap_column(source_users, '_sdc_extracted_at', 'timestamp') }} as extracted_at
from {{ source_users }}
where {{ ldap.ldap_is_there(source_users) }}
