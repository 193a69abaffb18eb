# Training. The gradient check takes the sources of a window built for double.
riverrun_test(test_train_gradient LINK engine)
target_sources(test_train_gradient PRIVATE $<TARGET_OBJECTS:train_f64>)
riverrun_test(test_train_model LINK engine)
riverrun_test(test_train_corpus LINK engine)
e2e_test(test_e2e_train LABELS "e2e;crash;slow" TIMEOUT 600)
e2e_test(test_e2e_train_nightly SCRIPT test_e2e_train NIGHTLY LABELS "e2e;crash;nightly" TIMEOUT 1800)
