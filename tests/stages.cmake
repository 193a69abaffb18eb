# Messages and stages, driven by arrays: no sockets, no model.
add_library(stages_help STATIC stages_help.c emit_help.c)
target_link_libraries(stages_help PUBLIC stages PkgConfig::CMOCKA)

foreach(name test_schemas_messages test_stages_text test_stages_units test_stages_paths
        test_stages_emit test_stages_sinks test_stages_ingest test_stages_ingest_follow test_stages_tokenize)
    riverrun_test(${name} LINK stages_help)
endforeach()
target_link_options(test_stages_sinks PRIVATE -Wl,--wrap=fsync,--wrap=pwrite,--wrap=ftruncate)
riverrun_test(test_pipeline_link LINK pipeline stages_help)
riverrun_test(test_stages_encode LINK stages_help)
riverrun_test(test_stages_turns LINK stages_help)
foreach(name test_stages_encode test_stages_turns)
    target_compile_definitions(${name} PRIVATE NANO_DIR="${CMAKE_BINARY_DIR}/tests")
    add_dependencies(${name} nano_models)
endforeach()
