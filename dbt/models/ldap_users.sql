{#- People, normalised. Who has no uid, name or mail is left out. -#}
select dn_key, dn, entry_uuid, uid, full_name, last_name, email, department_id, extracted_at
from {{ ref('stg_ldap__users') }}
where uid is not null and full_name is not null and email is not null
