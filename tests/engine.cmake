# The nano models: random, well scaled, small enough for every test. Targets that read them depend
# on nano_models.
add_executable(make_nano make_nano.c)
target_link_libraries(make_nano PRIVATE m)
set(NANO_MODELS)
function(nano_model file)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/tests/${file}
        COMMAND make_nano ${ARGN} -o ${CMAKE_BINARY_DIR}/tests/${file} DEPENDS make_nano VERBATIM)
    list(APPEND NANO_MODELS ${CMAKE_BINARY_DIR}/tests/${file})
    set(NANO_MODELS ${NANO_MODELS} PARENT_SCOPE)
endfunction()
nano_model(nano.safetensors --version 7 --seed 1)
nano_model(nano4.safetensors --version 4 --seed 1)
nano_model(nano51.safetensors --version 5.1 --seed 3)
# A gate, but one decay a head: the middle form.
nano_model(nano51g.safetensors --version 5.1g --seed 4 --head 8)
nano_model(nano52.safetensors --version 5.2 --seed 5 --state)
nano_model(nano6.safetensors --version 6 --seed 6)
nano_model(nano_state.safetensors --version 7 --seed 8 --state)
# More than one tile of vocabulary, sizes that are no multiple of 16, more layers.
nano_model(nano_tiles.safetensors --version 7 --seed 2 --vocab 2500 --channels 40 --head 8 --layers 5
    --rank 5 --ffn 100 --dtype BF16)
nano_model(nano6_tiles.safetensors --version 6 --seed 7 --vocab 2500 --channels 40 --head 8 --layers 5
    --rank 5 --ffn 100 --dtype BF16 --state)
# Matrices large enough to be int8.
nano_model(nano_wide.safetensors --version 7 --seed 9 --channels 144 --head 16 --layers 2 --ffn 208)
# One whose state only grows: a carried state is as good as a fresh one for 8k tokens, and worse from there.
nano_model(nano_drift.safetensors --version 7 --seed 1 --grow 2000000)
add_custom_target(nano_models ALL DEPENDS ${NANO_MODELS})

# Tests of the engine. The nano models lie in NANO_DIR, which is this build's tests folder.
function(engine_test name)
    riverrun_test(${name} LINK engine PkgConfig::JANSSON)
    target_compile_definitions(${name} PRIVATE NANO_DIR="${CMAKE_BINARY_DIR}/tests")
    add_dependencies(${name} nano_models)
endfunction()
engine_test(test_engine_vectors)

# The kernels: every level against the key, the key against formulas and against itself of yesterday.
foreach(name levels accuracy product golden)
    riverrun_test(test_kernel_${name} LABEL kernel LINK engine Threads::Threads)
    target_sources(test_kernel_${name} PRIVATE kernel_cases.c)
endforeach()
# Libraries that choose another path: oneDNN then fails its check and is replaced, OpenBLAS is refused.
add_test(NAME test_kernel_product_other_paths COMMAND test_kernel_product)
set_tests_properties(test_kernel_product_other_paths PROPERTIES LABELS kernel TIMEOUT 300
    ENVIRONMENT "ONEDNN_MAX_CPU_ISA=AVX2;OPENBLAS_CORETYPE=Haswell")
engine_test(test_engine_tokenizer)

# Container readers against the reference's numpy, and one container against another.
add_executable(show_tensors show_tensors.c)
target_link_libraries(show_tensors PRIVATE engine)
add_test(NAME test_engine_containers COMMAND /usr/bin/python3 -B ${CMAKE_CURRENT_SOURCE_DIR}/test_engine_containers.py
    ${CMAKE_BINARY_DIR} ${RIVERRUN_SHARED})
set_tests_properties(test_engine_containers PROPERTIES LABELS "unit" TIMEOUT 300 SKIP_RETURN_CODE 77)
engine_test(test_engine_neox)
engine_test(test_engine_cuts)
target_link_libraries(test_engine_cuts PRIVATE PkgConfig::UTF8PROC)
engine_test(test_engine_bits)
engine_test(test_engine_formats)
engine_test(test_engine_names)
engine_test(test_engine_quant)
engine_test(test_engine_gguf)
engine_test(test_engine_gguf_lies)
engine_test(test_engine_write)
engine_test(test_engine_sample)
engine_test(test_engine_convert)
engine_test(test_engine_pth)
engine_test(test_engine_pickle)
engine_test(test_engine_jobs)
engine_test(test_engine_golden)
engine_test(test_engine_versions)
