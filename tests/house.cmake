# The house rules, each a test that first proves on planted violations that it can fail. They look
# at the text, so one build is enough: those with sanitizers leave them out.
if(NOT CMAKE_C_FLAGS MATCHES "sanitize")
    foreach(check layers words format headers sources tidy)
        add_test(NAME house_${check} COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/house.py
            ${check} ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
        set_tests_properties(house_${check} PROPERTIES LABELS "unit;house" TIMEOUT 1200
            SKIP_RETURN_CODE 77)
    endforeach()
endif()
add_test(NAME house_symbols COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/house_symbols.sh
    $<TARGET_FILE:schemas> $<TARGET_FILE:engine> $<TARGET_FILE:store> $<TARGET_FILE:stages>
    $<TARGET_FILE:pipeline>)
set_tests_properties(house_symbols PROPERTIES LABELS "unit;house")

# Needs two files and no library of ours: it runs while the rest of the folders does not compile.
riverrun_test(test_stages_normalize LINK PkgConfig::UTF8PROC)
target_sources(test_stages_normalize PRIVATE
    ${CMAKE_SOURCE_DIR}/stages/tokenize/normalize.c ${CMAKE_SOURCE_DIR}/schemas/err.c)

# The validator of records, before it judges any: it must find every planted mistake.
add_test(NAME test_schemas_record_schema
    COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/validate_records.py --self-test)
set_tests_properties(test_schemas_record_schema PROPERTIES LABELS unit SKIP_RETURN_CODE 77)

# Set-up cannot be tried in earnest on a machine that is set up: what it would call is looked at.
add_test(NAME test_quickstart COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/quickstart.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(test_quickstart PROPERTIES LABELS unit)
