{{ config(enabled=var('with_failure', false)) }}
select cast('no number' as integer) as n
