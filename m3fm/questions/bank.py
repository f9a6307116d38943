"""The question bank: ten questions for each of the 17 tasks, templates for the retrieval tasks, and others.

A line that ends in `# authors` is the authors' own wording (from the paper, or the public part of its
supplement); the other lines are written here in the same manner.
"""

QUESTIONS: dict[str, tuple[str, ...]] = {
    "nodule_presence": (
        "Is there any lung nodule?",  # authors
        "Upon reviewing the CT, are there any nodules detected in the lung?",  # authors
        "Does this lung contain a nodule?",
        "Can you find a pulmonary nodule in the scan?",
        "Are nodules visible in this part of the lung?",
        "Do the images show one or more lung nodules?",
        "Is a pulmonary nodule present?",
        "Has any nodule been found in the lung?",
        "Would you report a nodule in this lung?",
        "Do you see evidence of a nodule in the lung tissue?",
    ),
    "nodule_location": (
        "Where is the lung nodule?",  # authors
        "Please identify the exact position of the lung nodule.",  # authors
        "In which lobe does the nodule lie?",
        "Which lobe of the lung contains the nodule?",
        "What is the location of the nodule?",
        "Can you tell me the lobe in which the nodule is found?",
        "Locate the lung nodule.",
        "Which pulmonary lobe is affected by the nodule?",
        "Name the lobe that holds the nodule.",
        "In what part of the lungs is the nodule situated?",
    ),
    "nodule_attenuation": (
        "What is the attenuation of the nodule?",  # authors
        "Could you specify the nodule's leading attenuation property?",  # authors
        "Is the nodule solid, ground glass or of another attenuation?",
        "How would you describe the density of the nodule?",
        "Which attenuation does the nodule have?",
        "What kind of attenuation predominates in the nodule?",
        "Classify the nodule by its attenuation.",
        "Does the nodule appear solid or as ground glass?",
        "Tell me the predominant attenuation of the lung nodule.",
        "What does the nodule's attenuation look like on CT?",
    ),
    "nodule_margin": (
        "What is the type of nodule margin?",  # authors
        "What kind of margin does the nodule exhibit?",  # authors
        "How would you describe the margin of the nodule?",
        "Are the nodule's margins spiculated, smooth or poorly defined?",
        "Which type of border does the nodule have?",
        "Characterize the edge of the lung nodule.",
        "What do the margins of the nodule look like?",
        "Please classify the nodule by its margin.",
        "Is the outline of the nodule smooth or spiculated?",
        "How well defined is the border of the nodule?",
    ),
    "nodule_size": (
        "What is the size of the nodule?",  # authors
        "Could you specify the size of the nodule?",  # authors
        "How large is the lung nodule?",
        "What is the longest diameter of the nodule?",
        "How many millimeters does the nodule measure?",
        "Into which size range does the nodule fall?",
        "Estimate the diameter of the nodule.",
        "How big is the nodule on this CT?",
        "Please measure the nodule.",
        "Tell me the size category of the lung nodule.",
    ),
    "cvd_diagnosis": (
        "Is there any significant cardiovascular abnormality?",  # authors
        "Can you identify any notable abnormalities in the cardiovascular system?",  # authors
        "Are there any evident issues related to the cardiovascular system in the findings?",  # authors
        "Are there discernible cardiovascular defects present?",  # authors
        "Do you notice any cardiovascular anomalies of significance?",  # authors
        "Has any cardiovascular abnormality been detected?",  # authors
        "Are there any significantly unusual cardiovascular findings to report?",  # authors
        "Can you spot any major cardiovascular abnormalities?",  # authors
        "Would you say there are any significant abnormalities in the heart or blood vessels?",  # authors
        "Is there evidence of any noteworthy cardiovascular abnormalities?",  # authors
    ),
    "cvd_mortality": (
        "Predict the risk of cardiovascular disease mortality.",  # authors
        "What is the risk of cardiovascular disease mortality?",  # authors
        "Can you assess the likelihood of mortality due to cardiovascular disease?",  # authors
        "How likely is death from cardiovascular disease?",  # authors
        "What are the chances of dying from cardiovascular disease?",  # authors
        "Could you estimate the mortality risk associated with cardiovascular disease?",  # authors
        "Can you determine the risk level for death caused by cardiovascular disease?",  # authors
        "How high is the mortality risk from cardiovascular disease?",  # authors
        "What's the likelihood of mortality as a result of cardiovascular disease?",  # authors
        "Could you calculate the risk of dying due to cardiovascular disease?",  # authors
    ),
    "lung_cancer_risk": (
        "Predict the lung cancer risk over 6 years.",  # authors
        "Predict the lung cancer risk over six years.",  # authors
        "Given the current indicators, what's the six-year outlook for developing lung cancer?",  # authors
        "What is the risk of lung cancer within six years?",
        "How likely is it that lung cancer will be found in the next six years?",
        "Estimate the probability of lung cancer for each of the coming six years.",
        "What are the chances that the patient develops lung cancer?",
        "Could you assess the future risk of lung cancer?",
        "How high is the patient's risk of lung cancer after this screening?",
        "Will the patient be diagnosed with lung cancer in one to six years?",
    ),
    "atelectasis": (
        "Is there atelectasis?",  # authors
        "Are there any segmental atelectasis present?",  # authors
        "Can you see a collapsed segment or lobe of the lung?",
        "Does the CT show atelectasis that is segmental or greater?",
        "Is any part of the lung collapsed?",
        "Do you find evidence of atelectasis in the scan?",
        "Has atelectasis been detected?",
        "Are there signs of volume loss from atelectasis?",
        "Would you report segmental or lobar atelectasis?",
        "Do the images indicate atelectasis?",
    ),
    "pleural_thickening_effusion": (
        "Is there pleural thickening/effusion?",  # authors
        "Are there any evident changes suggesting pleural thickening or the presence of effusion?",  # authors
        "Can you see fluid in the pleural space or a thickened pleura?",
        "Does the scan show a pleural effusion or pleural thickening?",
        "Is the pleura thickened, or is there an effusion?",
        "Do you notice any pleural fluid or thickening?",
        "Has a pleural effusion or thickening been detected?",
        "Are there pleural abnormalities such as effusion or thickening?",
        "Would you report an effusion or thickening of the pleura?",
        "Is there evidence of pleural disease with thickening or effusion?",
    ),
    "adenopathy_mass": (
        "Is there hilar/mediastinal adenopathy/mass?",  # authors
        "Does the scan display non-calcified masses or adenopathies greater than or equal to 10 mm "
        "within the hilar/mediastinal regions?",  # authors
        "Are hilar or mediastinal lymph nodes enlarged?",
        "Can you identify a mass in the mediastinum or hilum?",
        "Is there a non-calcified mediastinal mass or adenopathy?",
        "Do you see lymph nodes of 10 mm or more at the hilum or in the mediastinum?",
        "Has mediastinal or hilar adenopathy been detected?",
        "Does the CT reveal hilar adenopathy or a mediastinal mass?",
        "Would you report enlarged mediastinal nodes?",
        "Is there evidence of adenopathy in the hilar or mediastinal regions?",
    ),
    "chest_wall_abnormality": (
        "Is there chest wall abnormality?",  # authors
        "Are there manifestations of any abnormalities within the chest wall, including but not limited to "
        "bone destruction and metastasis?",  # authors
        "Does the chest wall look abnormal?",
        "Can you see bone destruction in the chest wall?",
        "Are there lesions of the ribs or other parts of the chest wall?",
        "Do you notice a chest wall mass or metastasis?",
        "Has any abnormality of the chest wall been detected?",
        "Is there evidence of metastasis in the chest wall?",
        "Would you report a chest wall abnormality?",
        "Do the images show a destructive lesion of the chest wall?",
    ),
    "consolidation": (
        "Is there consolidation?",  # authors
        "Based on the CT results, are there manifestations of consolidation?",  # authors
        "Can you see consolidated lung tissue?",
        "Does the scan show airspace consolidation?",
        "Is any region of the lungs consolidated?",
        "Do you find evidence of pulmonary consolidation?",
        "Has consolidation been detected in the lungs?",
        "Are there areas of consolidation on this CT?",
        "Would you report a consolidation?",
        "Do the images indicate consolidation of the lung?",
    ),
    "emphysema": (
        "Is there emphysema?",  # authors
        "Can you identify emphysema from the CT images?",  # authors
        "Does the patient have emphysema on CT?",
        "Do the lungs show emphysematous changes?",
        "Are there signs of emphysema in this scan?",
        "Is there evidence of emphysematous destruction of the lungs?",
        "Has emphysema been detected?",
        "Do you notice areas of low attenuation that suggest emphysema?",
        "Would you report emphysema?",
        "Are emphysematous regions visible in either lung?",
    ),
    "reticular_fibrosis_scar": (
        "Is there any reticular/reticulonodular opacities/honeycombing/fibrosis/scar?",  # authors
        "Looking at the scans, are there manifestations of scar tissue, honeycombing, fibrosis, or "
        "reticulonodular opacities?",  # authors
        "Can you see fibrosis or scarring of the lungs?",
        "Does the CT show reticular opacities?",
        "Is there honeycombing or pulmonary fibrosis?",
        "Are there scars or reticular changes in the lungs?",
        "Do you notice reticulonodular opacities or scarring?",
        "Has fibrosis, honeycombing or a scar been detected?",
        "Would you report reticular opacities, fibrosis or scar?",
        "Is there evidence of interstitial changes such as fibrosis or honeycombing?",
    ),
    "covid19": (
        "Predict if the patient has COVID-19 given the data.",  # authors
        "Does the patient have COVID-19?",
        "Is this CT consistent with COVID-19?",
        "Are there signs of COVID-19 in the lungs?",
        "Would a COVID-19 test of this patient be positive?",
        "How likely is COVID-19 given this scan?",
        "Is there evidence of COVID-19 pneumonia?",
        "Can you tell whether the patient is infected with COVID-19?",
        "Do the opacities suggest COVID-19?",
        "Judge from the images whether COVID-19 is present.",
    ),
    "lung_rads": (
        "What is the Lung-RADS?",  # authors
        "Which Lung-RADS category fits this report?",
        "Assign a Lung-RADS category.",
        "What Lung-RADS score does the nodule report imply?",
        "Please give the Lung-RADS category of these nodules.",
        "How would you categorize this report by Lung-RADS?",
        "Into which Lung-RADS category does the patient fall?",
        "Determine the Lung-RADS category from the nodule description.",
        "Is the Lung-RADS category 1, 2, 3 or 4?",
        "Read the nodule report and state its Lung-RADS category.",
    ),
}
"""Ten questions for each screening task, by task."""

# Templates of the retrieval tasks; `{}` stands for a disease, a cancer or a relative.
DIAGNOSIS_QUESTIONS = (
    "Was the patient diagnosed {}?",  # authors
    "Was the patient diagnosed with {}?",
    "Has the patient ever had {}?",
    "Is {} part of the patient's history?",
    "Does the record say that the patient had {}?",
)
FAMILY_QUESTIONS = (
    "Does the patient's {} have lung cancer?",
    "Was lung cancer found in the patient's {}?",
    "Is there lung cancer in the family, in the patient's {}?",
)
STATUS_QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "gender": {
        "Female": ("Is the patient female?", "Is the patient a woman?"),
        "Male": ("Is the patient male?", "Is the patient a man?"),
    },
    "smoking_status": {
        "Current": ("Is the patient a current smoker?", "Does the patient still smoke?"),
        "Former": ("Is the patient a former smoker?", "Has the patient stopped smoking?"),
    },
}
"""Yes-or-no questions by element and by the value that makes the answer yes."""

NUMBER_QUESTIONS: dict[str, tuple[str, ...]] = {
    "age": ("How old is the patient?", "What is the patient's age?"),  # the first: authors
    "height": ("How tall is the patient in inches?", "What is the patient's height?"),
    "weight": ("How many pounds does the patient weigh?", "What is the patient's weight?"),
    "pack_years": (
        "How many pack years has the patient smoked?",
        "What is the smoking history in pack years?",
    ),
    "smoke_day": (
        "How many cigarettes does the patient smoke per day?",
        "What is the smoking intensity in cigarettes a day?",
    ),
    "age_quit": (
        "How many years ago did the patient quit smoking?",
        "For how many years has the patient not smoked?",
    ),
}
DIAGNOSIS_AGE_QUESTIONS = (
    "At what age was the patient diagnosed with {}?",
    "How old was the patient when {} was diagnosed?",
)

OUT_OF_SCOPE = (
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "How far is the moon from the earth?",
    "What is the square root of 144?",
    "When did the Second World War end?",
    "How many legs does a spider have?",
    "Which river flows through Cairo?",
    "What is the chemical formula of water?",
    "Who painted the Mona Lisa?",
    "How do I bake a chocolate cake?",
    "Translate this sentence into Spanish.",
    "Write a poem about the sea.",
    "Tell me a joke.",
    "What is the weather like tomorrow?",
    "Can you recommend a good film?",
    "How are you today?",
    "What is your name?",
    "Thank you for your help.",
    "Who won the football match last night?",
    "What time does the train leave?",
    "Sort this list of numbers in Python.",
    "How do I reset my password?",
    "What is the exchange rate of the euro?",
    "Book a table for two at seven.",
    "Summarize this news article.",
    "Is there appendicitis?",
    "Are there gallstones?",
    "Is there a kidney stone?",
    "Does the liver show fatty change?",
    "Is the spleen enlarged?",
    "Are there signs of pancreatitis?",
    "Is there a fracture of the hip?",
    "Does the brain scan show a stroke?",
    "Is there bleeding inside the skull?",
    "Is the thyroid gland enlarged?",
    "Are there polyps in the colon?",
    "Is there an ovarian cyst?",
    "Does the prostate look enlarged?",
    "Is the anterior cruciate ligament torn?",
    "Is there a herniated disc in the lumbar spine?",
    "Does the patient have glaucoma?",
    "Are the sinuses inflamed?",
    "Is there a cavity in this tooth?",
    "Is this skin lesion a melanoma?",
    "What is the patient's blood type?",
    "What dose of paracetamol can a child take?",
    "Which antibiotic should be prescribed for a urinary tract infection?",
    "What are the side effects of aspirin?",
    "How is migraine treated?",
    "Is the patient pregnant?",
    "What is the patient's blood pressure today?",
    "How high is the blood sugar this morning?",
    "What is the risk of breast cancer in ten years?",
    "Will the patient develop dementia?",
    "How long will the patient stay in hospital?",
    "Does the patient need a new pair of glasses?",
    "What is the bone density of the femur?",
    "Which vaccine is due for a traveler to Brazil?",
    "Does this electrocardiogram show atrial fibrillation?",
    "How many teeth does an adult have?",
    "Is the patient insured?",
    "When is the next appointment?",
)
"""Questions that belong to no task, from which the Task ID predictor learns to refuse."""
