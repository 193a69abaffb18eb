# Training. The gradient check takes the sources of a window built for double.
riverrun_test(test_train_gradient LINK engine)
target_sources(test_train_gradient PRIVATE $<TARGET_OBJECTS:train_f64>)
riverrun_test(test_train_model LINK engine)
