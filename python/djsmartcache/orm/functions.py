"""Which SQL functions answer by their arguments alone, so that a result made by them may be stored.

A function of the user may read tables that no SQL names; others tell the time, draw lots or ask
about the session. So only those known to do nothing of the kind are trusted: on SQLite and MySQL
those listed here, on PostgreSQL those that its catalogue declares immutable, and a few others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError

from djsmartcache.orm import schema

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_COMMON = frozenset(
    """
    abs acos any_value ascii asin atan atan2 avg bit_and bit_or bit_xor ceil ceiling char_length
    character_length coalesce concat concat_ws cos cot count cume_dist degrees dense_rank exp
    first_value floor greatest hex iif ifnull instr json_array json_array_length json_extract
    json_insert json_object json_patch json_quote json_remove json_replace json_set json_type
    json_valid lag last_value lead least left length ln log log10 log2 lower lpad ltrim max md5 min
    mod nth_value ntile nullif octet_length percent_rank pi position pow power quote radians rank
    repeat replace reverse right round row_number rpad rtrim sha1 sign sin sqrt stddev_pop
    stddev_samp substr substring sum tan trim trunc truncate unhex upper var_pop var_samp cast
    """.split()  # noqa: SIM905
)

_SQLITE = frozenset(
    """
    acosh asinh atanh bitxor bm25 char cosh django_date_extract django_date_trunc
    django_datetime_cast_date django_datetime_cast_time django_datetime_extract
    django_datetime_trunc django_format_dtdelta django_time_diff django_time_extract
    django_time_trunc django_timestamp_diff format glob group_concat highlight json json_each
    json_error_position json_group_array json_group_object json_pretty json_tree jsonb jsonb_array
    jsonb_each jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object
    jsonb_patch jsonb_remove jsonb_replace jsonb_set jsonb_tree likelihood likely matchinfo median
    percentile percentile_cont percentile_disc printf regexp sha224 sha256 sha384 sha512 sinh
    snippet soundex string_agg tanh total typeof unicode unistr unlikely zeroblob
    """.split()  # noqa: SIM905
)

_MYSQL = frozenset(
    """
    adddate addtime aes_decrypt aes_encrypt bin bin_to_uuid bit_count bit_length char charset
    coercibility collation compress conv convert convert_tz crc32 date date_add date_format date_sub
    datediff day dayname dayofmonth dayofweek dayofyear elt export_set extract field find_in_set
    format from_base64 from_days from_unixtime get_format group_concat hour if inet6_aton inet6_ntoa
    inet_aton inet_ntoa insert interval is_ipv4 is_ipv6 is_uuid isnull json_arrayagg
    json_array_append json_array_insert json_compact json_contains json_contains_path json_depth
    json_detailed json_exists json_keys json_length json_loose json_merge json_merge_patch
    json_merge_preserve json_normalize json_objectagg json_overlaps json_pretty json_query
    json_schema_valid json_search json_storage_size json_table json_unquote json_value last_day
    lcase locate make_set makedate maketime match microsecond mid minute month monthname oct ord
    period_add period_diff quarter regexp_instr regexp_like regexp_replace regexp_substr
    sec_to_time second sha sha2 soundex space std stddev str_to_date strcmp subdate
    substring_index subtime time time_format time_to_sec timediff timestamp timestampadd
    timestampdiff to_base64 to_days to_seconds ucase uncompress uncompressed_length uuid_to_bin
    variance week weekday weekofyear weight_string year yearweek values
    """.split()  # noqa: SIM905
)

_TRUSTED = {"sqlite": _COMMON | _SQLITE, "mysql": _COMMON | _MYSQL}

# Of PostgreSQL: what its grammar knows and its catalogue of functions does not.
_GRAMMAR = frozenset(
    """
    coalesce greatest least nullif cast extract treat grouping normalize xmlelement xmlforest xmlpi
    xmlroot xmlserialize xmlparse xmlconcat xmlexists xmltable json_object json_array json_value
    json_query json_exists json_table json_scalar json_serialize json_arrayagg json_objectagg
    """.split()  # noqa: SIM905
)

# Called stable because the settings of the session (time zone, language, formats) count as well.
_BY_SETTINGS = sorted(
    """
    array_to_json array_to_string concat concat_ws convert convert_from convert_to date date_add
    date_part date_subtract date_trunc enum_first enum_last enum_range extract format
    generate_series json_agg json_build_array json_build_object json_object_agg
    json_populate_record json_populate_recordset json_to_record json_to_recordset json_to_tsvector
    jsonb_agg jsonb_build_array jsonb_build_object jsonb_object_agg jsonb_path_exists_tz
    jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz
    jsonb_populate_record jsonb_populate_recordset jsonb_to_record jsonb_to_recordset
    jsonb_to_tsvector length make_timestamptz money numeric overlaps phraseto_tsquery
    plainto_tsquery quote_literal quote_nullable row_to_json time timestamp timestamptz timetz
    timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector
    ts_headline unaccent websearch_to_tsquery xml
    """.split()  # noqa: SIM905
)

# One that shares its name with a function of the user is not trusted: types decide which is meant.
_JUDGE = (
    "SELECT proname FROM pg_catalog.pg_proc p WHERE proname = ANY(%s) GROUP BY proname"
    " HAVING bool_and((provolatile = 'i' OR (provolatile = 's' AND proname = ANY(%s)))"
    " AND (pronamespace = 'pg_catalog'::pg_catalog.regnamespace"
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'"
    " AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)))"
)


def refused(connection: BaseDatabaseWrapper, calls: frozenset[str]) -> str:
    """Name a function, of those that a statement calls, by whose result nothing may be stored.

    *Cost*: on PostgreSQL one query for names not met since the schema was read.
    """
    if not calls:
        return ""
    if connection.vendor != "postgresql":
        return min(calls - _TRUSTED.get(connection.vendor, frozenset()), default="")
    known = schema.of(connection)
    # What is in quotes is no word of the grammar, and is meant as it is written.
    unmet = {name.strip('"') for name in calls - _GRAMMAR} - known.trusted
    if unmet:
        try:
            known.trusted.update(
                name for (name,) in schema.query(connection, _JUDGE, [sorted(unmet), _BY_SETTINGS])
            )
        except DatabaseError:
            return min(unmet)
    return min(unmet - known.trusted, default="")
