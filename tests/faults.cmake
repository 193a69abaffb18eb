# Bad input and bad luck, end to end: scripts that run the program. Each prints the lines that a user
# would see. The long sizes run at night.
function(riverrun_fault_test name)
    cmake_parse_arguments(ARG "NIGHTLY" "LABEL" "" ${ARGN})
    set(command /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/${name}.py ${CMAKE_BINARY_DIR}
        ${RIVERRUN_SHARED})
    add_test(NAME ${name} COMMAND ${command})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT 900 SKIP_RETURN_CODE 77)
    if(ARG_NIGHTLY)
        add_test(NAME ${name}_long COMMAND ${command})
        set_tests_properties(${name}_long PROPERTIES LABELS "${ARG_LABEL};nightly" TIMEOUT 3600
            ENVIRONMENT RIVERRUN_LONG=1 SKIP_RETURN_CODE 77)
    endif()
endfunction()

riverrun_fault_test(test_e2e_bad_source LABEL crash NIGHTLY)
riverrun_fault_test(test_e2e_bad_output LABEL crash)
riverrun_fault_test(test_e2e_bad_model LABEL crash)
riverrun_fault_test(test_e2e_bad_store LABEL crash)
riverrun_fault_test(test_e2e_full_disk LABEL crash NIGHTLY)
riverrun_fault_test(test_e2e_machine_crash LABEL "crash;slow" NIGHTLY)

# Sanitizers have memory of their own.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    riverrun_fault_test(test_e2e_memory LABEL slow NIGHTLY)
endif()
