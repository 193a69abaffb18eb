# The protocol as a model, checked by spin (protocol/README.md).
e2e_test(test_protocol LABELS "model;slow" TIMEOUT 1800)
e2e_test(test_protocol_nightly SCRIPT test_protocol NIGHTLY LABELS "model;nightly" TIMEOUT 7200)
