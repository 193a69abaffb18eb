# Fuzz targets: decoders of bytes from outside, built with clang's libFuzzer, address and undefined
# sanitizers, whatever compiler the rest is built with. tests/corpus/NAME holds seeds and what was found
# in the past; new finds of a run lie in the build's tests/fuzz/NAME, and what broke it beside that. The suite's short run
# has one seed, so that it says something of the change and not of its luck; the nightly's differs each night, and is as
# long as gives each ten minutes of a processor of its own, though some wait for files.
find_program(FUZZ_CLANG clang)
if(NOT FUZZ_CLANG OR CMAKE_C_FLAGS MATCHES "sanitize")
    return()
endif()

set(FUZZ_FLAGS -std=c17 -g -O1 -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined
    -fno-sanitize-recover=all -I${CMAKE_SOURCE_DIR}
    -isystem ${CMAKE_BINARY_DIR})

# fuzz_target(NAME SOURCES... LINK LIBRARIES...): SOURCES from the root of the tree.
function(fuzz_target name)
    cmake_parse_arguments(ARG "PROTO" "" "SOURCES;LINK" ${ARGN})
    set(program ${CMAKE_BINARY_DIR}/tests/fuzz_${name})
    set(work ${CMAKE_BINARY_DIR}/tests/fuzz/${name})
    set(sources ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz_${name}.c)
    foreach(source schemas/err.c schemas/bytes.c schemas/outfile.c ${ARG_SOURCES})
        list(APPEND sources ${CMAKE_SOURCE_DIR}/${source})
    endforeach()
    if(ARG_PROTO)
        list(APPEND sources ${CMAKE_BINARY_DIR}/schemas/control.pb-c.c)
    endif()
    file(MAKE_DIRECTORY ${work})
    file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/schemas/*.h ${CMAKE_SOURCE_DIR}/store/*.h ${CMAKE_SOURCE_DIR}/stages/*/*.h ${CMAKE_SOURCE_DIR}/stages/*/*/*.h
        ${CMAKE_SOURCE_DIR}/engine/*.h ${CMAKE_SOURCE_DIR}/engine/*/*.h
        ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/*.h)
    add_custom_command(OUTPUT ${program}
        COMMAND ${FUZZ_CLANG} ${FUZZ_FLAGS} -o ${program} ${sources} ${ARG_LINK} -lm
        DEPENDS ${sources} ${headers} control_proto VERBATIM)
    add_custom_target(build_fuzz_${name} ALL DEPENDS ${program})
    set(run ${program} -rss_limit_mb=1024 -timeout=10 -max_len=8192 -print_final_stats=1
        -artifact_prefix=${work}- ${work} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    add_test(NAME fuzz_${name} COMMAND ${run} -seed=1 -max_total_time=10)
    set_tests_properties(fuzz_${name} PROPERTIES LABELS fuzz TIMEOUT 120)
    add_test(NAME fuzz_${name}_nightly COMMAND ${run} -max_total_time=660)
    set_tests_properties(fuzz_${name}_nightly PROPERTIES LABELS "fuzz;nightly" TIMEOUT 960)
endfunction()

set(TOKENIZER_SOURCES)
foreach(source bpe neox segment tokenizer unicode vocabulary world)
    list(APPEND TOKENIZER_SOURCES engine/tokenizer/${source}.c)
endforeach()
set(TOKENIZER_LIBRARIES ${XXHASH_LINK_LIBRARIES} ${JANSSON_LINK_LIBRARIES} ${UTF8PROC_LINK_LIBRARIES})

fuzz_target(message PROTO SOURCES schemas/msg.c schemas/control.c LINK ${PROTOBUF_C_LINK_LIBRARIES})
fuzz_target(salvage
    SOURCES store/page.c store/keys.c store/seal.c store/scan.c store/survey.c store/salvage.c store/choose.c
    LINK ${XXHASH_LINK_LIBRARIES})
# All of the analysis, however many files it has.
get_target_property(ANALYSIS_SOURCES stages SOURCES)
list(FILTER ANALYSIS_SOURCES INCLUDE REGEX "^encode/analysis/")
list(TRANSFORM ANALYSIS_SOURCES PREPEND stages/)
fuzz_target(checkpoint PROTO
    SOURCES schemas/msg.c schemas/control.c schemas/record.c ${ANALYSIS_SOURCES}
    LINK ${PROTOBUF_C_LINK_LIBRARIES} ${JANSSON_LINK_LIBRARIES} ${UTF8PROC_LINK_LIBRARIES} ${XXHASH_LINK_LIBRARIES})
fuzz_target(export SOURCES schemas/export.c LINK ${XXHASH_LINK_LIBRARIES})
fuzz_target(cursor
    SOURCES schemas/msg.c stages/ingest/source.c stages/ingest/segment.c stages/ingest/packed.c stages/ingest/readers/confine.c
        stages/ingest/readers/look.c stages/ingest/readers/unpack.c stages/tokenize/text.c
        stages/tokenize/normalize.c ${TOKENIZER_SOURCES}
    LINK ${TOKENIZER_LIBRARIES} ${LIBARCHIVE_LINK_LIBRARIES} ${ZLIB_LINK_LIBRARIES})
set(READER_SOURCES schemas/msg.c)
foreach(source archived confine encoding epub fields gmime html look mail mbox office out pdf readers shape text unpack xml zipped)
    list(APPEND READER_SOURCES stages/ingest/readers/${source}.c)
endforeach()
set(READER_HEADERS ${LIBXML2_INCLUDE_DIRS} ${UCHARDET_INCLUDE_DIRS})
list(TRANSFORM READER_HEADERS PREPEND -I)
set(READER_LIBRARIES ${READER_HEADERS} ${LIBARCHIVE_LINK_LIBRARIES} ${LIBXML2_LINK_LIBRARIES} ${UCHARDET_LINK_LIBRARIES} ${ZLIB_LINK_LIBRARIES}
    ${JANSSON_LINK_LIBRARIES})
foreach(name reader epub office pages fields archived mail)
    fuzz_target(${name} SOURCES ${READER_SOURCES} LINK ${READER_LIBRARIES})
endforeach()
set(CONTAINER_SOURCES engine/formats/beside.c engine/formats/container.c engine/formats/dtype.c
    engine/formats/gguf.c engine/formats/gguf_pairs.c engine/formats/machine.c engine/formats/names.c
    engine/formats/pickle.c engine/formats/pth.c engine/formats/state.c engine/formats/quant.c engine/formats/rwkvcpp.c
    engine/formats/safetensors.c engine/formats/turn.c engine/formats/zip.c)
fuzz_target(model SOURCES ${CONTAINER_SOURCES} LINK ${JANSSON_LINK_LIBRARIES})
# All of a model but its arithmetic.
fuzz_target(names SOURCES ${CONTAINER_SOURCES} engine/model.c engine/batch.c engine/crew.c engine/heads.c
        engine/rwkv4.c
        engine/rwkv5.c engine/rwkv6.c engine/rwkv7.c
    LINK ${JANSSON_LINK_LIBRARIES})
fuzz_target(gguf SOURCES ${CONTAINER_SOURCES} LINK ${JANSSON_LINK_LIBRARIES})
fuzz_target(pth SOURCES ${CONTAINER_SOURCES} LINK ${JANSSON_LINK_LIBRARIES})
fuzz_target(pickle SOURCES ${CONTAINER_SOURCES} LINK ${JANSSON_LINK_LIBRARIES})
foreach(name vocabulary neox neox_text)
    fuzz_target(${name} SOURCES ${TOKENIZER_SOURCES} LINK ${TOKENIZER_LIBRARIES})
endforeach()
fuzz_target(carried SOURCES ${TOKENIZER_SOURCES} engine/tokenizer/carried.c ${CONTAINER_SOURCES}
    LINK ${TOKENIZER_LIBRARIES})
get_target_property(REPORT_SOURCES stages SOURCES)
list(FILTER REPORT_SOURCES INCLUDE REGEX "^emit/report/")
list(TRANSFORM REPORT_SOURCES PREPEND stages/)
fuzz_target(report
    SOURCES stages/emit/vectors.c stages/emit/whitening.c ${REPORT_SOURCES}
    LINK ${JANSSON_LINK_LIBRARIES} ${UTF8PROC_LINK_LIBRARIES})
