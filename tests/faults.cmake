# Bad input and bad luck, end to end (e2e_test: pipeline.cmake). Each script prints the lines that a user
# would see.
foreach(subject bad_source bad_output bad_model bad_store full_disk machine_crash repair spool verify gc)
    e2e_test(test_e2e_${subject} LABELS "e2e;crash;slow" TIMEOUT 900)
endforeach()
foreach(subject bad_source full_disk machine_crash spool)
    e2e_test(test_e2e_${subject}_nightly SCRIPT test_e2e_${subject} NIGHTLY LABELS "e2e;crash;nightly"
        TIMEOUT 3600)
endforeach()

# Sanitizers have memory of their own.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    e2e_test(test_e2e_memory LABELS "e2e;slow" TIMEOUT 900)
    e2e_test(test_e2e_memory_nightly SCRIPT test_e2e_memory NIGHTLY LABELS "e2e;nightly" TIMEOUT 3600)
endif()

# Hundreds of faults of all kinds; the nightly variant thousands. The shim comes between the program and libc, where
# sanitizers have their own.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    add_library(fault_shim SHARED fault_shim.c)
    target_link_libraries(fault_shim PRIVATE ${CMAKE_DL_LIBS})
    e2e_test(test_e2e_faults LABELS "e2e;crash;slow" TIMEOUT 1800)
    set_tests_properties(test_e2e_faults PROPERTIES PROCESSORS 2)
    e2e_test(test_e2e_faults_nightly SCRIPT test_e2e_faults NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 7200)
endif()
