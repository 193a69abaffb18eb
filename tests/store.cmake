# The store: basics against the release library, crashes against the one with steps.
add_library(store_help STATIC store_help.c)
target_link_libraries(store_help PUBLIC PkgConfig::CMOCKA)

riverrun_test(test_store_basics LINK store_help store)
riverrun_test(test_store_crash LINK store_help store_steps LABEL crash)
riverrun_test(test_store_journal LINK store_help store LABEL crash)
riverrun_test(test_store_spool LINK store_help store_steps LABEL crash)
riverrun_test(test_store_faults LINK store_help store LABEL crash)
riverrun_test(test_store_damage LINK store_help store LABEL crash)
riverrun_test(test_store_power LINK store_help store LABEL crash)
riverrun_test(test_store_salvage LINK store_help store LABEL crash)
