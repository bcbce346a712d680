# Installs the build into an empty folder, builds tests/tools/consumer against it and runs both programs.
# Variables: BUILD_DIR, SOURCE_DIR, WORK_DIR, GENERATOR, CXX.
file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
run(${prefix}/bin/twofold --version)
if(NOT output MATCHES "^twofold [0-9]+\\.[0-9]+\\.[0-9]+")
  message(FATAL_ERROR "twofold --version printed: ${output}")
endif()

# The package must not need the source tree: only the prefix is given.
run(${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/tools/consumer -B ${WORK_DIR}/build -G ${GENERATOR}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix}
    -DCMAKE_CXX_FLAGS=${CXX_FLAGS} -DEXAMPLE=${SOURCE_DIR}/examples/quantize_and_run.cpp)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
set(model ${prefix}/share/twofold/models/shakespeare-char)
run(${WORK_DIR}/build/consumer ${model} ${WORK_DIR}/out ${model}/input.txt)
if(NOT output MATCHES "bits per weight.*nats per token.*ROMEO:.")
  message(FATAL_ERROR "the example printed: ${output}")
endif()
