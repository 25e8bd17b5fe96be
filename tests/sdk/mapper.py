#!/usr/bin/env python3
"""The Meltano SDK's own stream maps, on Singer messages: mapper.py SETTINGS < messages > mapped.

SETTINGS is a JSON file with stream_maps and the other settings. SCHEMA and RECORD come out mapped, the rest is left out.
"""

import json
import logging
import sys

from singer_sdk.mapper import PluginMapper, RemoveRecordTransform


def main(settings: str) -> None:
    with open(settings, encoding="utf-8") as file:
        mapper = PluginMapper(plugin_config=json.load(file), logger=logging.getLogger("mapper"))
    for line in sys.stdin:
        message = json.loads(line)
        stream = message.get("stream")
        if message["type"] == "SCHEMA":
            mapper.register_raw_stream_schema(stream, message["schema"], message["key_properties"])
            for mapped in mapper.stream_maps[stream]:
                if not isinstance(mapped, RemoveRecordTransform):
                    out = {"type": "SCHEMA", "stream": mapped.stream_alias, "schema": mapped.transformed_schema}
                    print(json.dumps({**out, "key_properties": mapped.transformed_key_properties or []}))
        elif message["type"] == "RECORD":
            for mapped in mapper.stream_maps[stream]:
                record = mapped.transform(message["record"])
                if record is not None:
                    print(json.dumps({"type": "RECORD", "stream": mapped.stream_alias, "record": record}))


if __name__ == "__main__":
    main(*sys.argv[1:])
