# End to end: the programs as users run them, by Python scripts that share e2e.py. A script runs the
# cases that are named to it, without names all; --nightly makes them longer.
function(e2e_test name)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "NIGHTLY" "SCRIPT;LABELS;TIMEOUT" "CASES") # keeps lists whole
    if(NOT ARG_SCRIPT)
        set(ARG_SCRIPT ${name})
    endif()
    set(more ${ARG_CASES})
    if(ARG_NIGHTLY)
        list(PREPEND more --nightly)
    endif()
    add_test(NAME ${name} COMMAND /usr/bin/python3 -B ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_SCRIPT}.py
        ${CMAKE_BINARY_DIR} ${RIVERRUN_SHARED} ${more})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
        SKIP_RETURN_CODE 77)
endfunction()

riverrun_test(test_pipeline_curve LINK pipeline)
e2e_test(test_e2e_eval LABELS "e2e;slow" TIMEOUT 300)

e2e_test(test_e2e_report LABELS "e2e;crash" TIMEOUT 600)
e2e_test(test_e2e_same_bytes LABELS "e2e;slow" TIMEOUT 900)
e2e_test(test_e2e_kill LABELS "e2e;crash;slow" TIMEOUT 900)
e2e_test(test_e2e_kill_nightly SCRIPT test_e2e_kill NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 3600)
e2e_test(test_e2e_same_bytes_nightly SCRIPT test_e2e_same_bytes NIGHTLY LABELS "e2e;nightly" TIMEOUT 3600)
e2e_test(test_e2e_models LABELS "e2e" TIMEOUT 600)
e2e_test(test_e2e_models_nightly SCRIPT test_e2e_models NIGHTLY LABELS "e2e;nightly" TIMEOUT 3600)
e2e_test(test_e2e_steps LABELS "e2e;crash;slow" TIMEOUT 900)
set_tests_properties(test_e2e_steps PROPERTIES PROCESSORS 2)
e2e_test(test_e2e_steps_nightly SCRIPT test_e2e_steps NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 3600)
e2e_test(test_e2e_points LABELS "e2e;crash;slow" TIMEOUT 900)
e2e_test(test_e2e_points_nightly SCRIPT test_e2e_points NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 3600)
e2e_test(test_e2e_neox LABELS "e2e;crash" TIMEOUT 600)
e2e_test(test_e2e_neox_nightly SCRIPT test_e2e_neox NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 3600)
e2e_test(test_e2e_tokenize LABELS "e2e" TIMEOUT 300)
e2e_test(test_e2e_tokenize_nightly SCRIPT test_e2e_tokenize NIGHTLY LABELS "e2e;nightly" TIMEOUT 3600)
# A library that is loaded before all others is none of a sanitizer's.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    add_library(sync_log MODULE sync_log.c)
    target_link_libraries(sync_log PRIVATE dl)
endif()
e2e_test(test_e2e_sinks LABELS "e2e;crash;slow" TIMEOUT 900)
e2e_test(test_e2e_load LABELS "e2e;slow" TIMEOUT 900)
e2e_test(test_e2e_load_nightly SCRIPT test_e2e_load NIGHTLY LABELS "e2e;nightly" TIMEOUT 7200)
e2e_test(test_e2e_back_pressure LABELS "e2e;slow" TIMEOUT 300)
e2e_test(test_e2e_back_pressure_nightly SCRIPT test_e2e_back_pressure NIGHTLY LABELS "e2e;nightly" TIMEOUT 300)
e2e_test(test_e2e_model_commands LABELS "e2e" TIMEOUT 300)
e2e_test(test_e2e_generate LABELS "e2e" TIMEOUT 300)
e2e_test(test_e2e_gguf LABELS "e2e" TIMEOUT 300)
# A program that is compiled outside of the build knows nothing of sanitizers.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    e2e_test(test_e2e_library LABELS "e2e" TIMEOUT 300)
endif()
# Builds the program for another processor first; skipped where there is no cross compiler or emulator.
e2e_test(test_e2e_arm64_nightly SCRIPT test_e2e_arm64 LABELS "e2e;crash;nightly" TIMEOUT 7200)
# A log that grows and is rotated, and a reader that is killed.
e2e_test(test_e2e_follow LABELS "e2e;crash;slow" TIMEOUT 900)
e2e_test(test_e2e_follow_nightly SCRIPT test_e2e_follow NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 3600)
