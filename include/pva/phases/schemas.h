// The file types of phases 0 to 3 and of pva_evaluate. Each is described on a page of docs/formats; a test compares page and schema.
#pragma once

#include <string>
#include <vector>

#include "pva/io/schema.h"

namespace pva::phases {

const io::FileSchema& difficulty_schema();  ///< docs/formats/difficulty.md
const io::FileSchema& dataset_schema();     ///< docs/formats/dataset.md
const io::FileSchema& temperatures_schema();
const io::FileSchema& splits_schema();      ///< docs/formats/splits.md
const io::FileSchema& sparse_schema();      ///< docs/formats/sparse.md
const io::FileSchema& rates_schema();       ///< docs/formats/rates.md
const io::FileSchema& latents_schema();     ///< docs/formats/latents.md
const io::FileSchema& validation_schema();  ///< docs/formats/validation.md
const io::FileSchema& stages_schema();  ///< docs/formats/stages.md

const io::FileSchema& verdicts_schema();    ///< docs/formats/verdicts.md

/// docs/formats/activations.md, which shows it for resid_post in float32: the datasets depend on the sites and the type.
io::FileSchema activations_schema(const std::vector<std::string>& sites, io::h5::Element element);

/// All of them.
std::vector<const io::FileSchema*> all_schemas();

}  // namespace pva::phases
